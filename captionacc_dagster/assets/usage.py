"""What a tenant's videos cost in time, for its quota and its bill."""

from typing import Any

import dagster as dg

from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.resources.compute import Compute
from captionacc_dagster.resources.modal_compute import CallReport

#: Metric that the quota of processing minutes counts.
PROCESSING_MINUTES = "processing_minutes"
#: Calls that an asset's metadata links to.
SHOWN_CALLS = 10


def record_processing(catalog: Catalog, video: VideoRow, function: str, seconds: float) -> None:
    """Add a compute function's wall time to what the video's tenant has used."""
    catalog.record_usage(
        video.tenant_id,
        PROCESSING_MINUTES,
        round(seconds / 60, 4),
        video_id=video.video_id,
        metadata={"function": function},
    )


def call_reports(compute: Compute) -> list[CallReport]:
    """What the remote calls since the last time were and used; none of a compute that makes none."""
    take = getattr(getattr(compute, "backend", None), "take_reports", None)
    return take() if callable(take) else []


def call_metadata(compute: Compute) -> dict[str, Any]:
    """The remote calls of an asset for its metadata: links to them, GPUs, seconds in containers."""
    reports = call_reports(compute)
    if not reports:
        return {}
    links = [f"[{report.call_id}]({report.url})" for report in reports if report.call_id]
    more = f" and {len(links) - SHOWN_CALLS} more" if len(links) > SHOWN_CALLS else ""
    return {
        "remote_calls": dg.MetadataValue.md(", ".join(links[:SHOWN_CALLS]) + more),
        "remote_call_count": len(reports),
        "gpu": ", ".join(sorted({report.gpu for report in reports if report.gpu})) or "none",
        "container_seconds": round(sum(report.seconds or 0.0 for report in reports), 3),
        "cold_start_seconds": round(sum(report.cold_start_seconds or 0.0 for report in reports), 3),
    }
