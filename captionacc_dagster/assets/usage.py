"""What a tenant's videos cost in time, for its quota and its bill."""

from captionacc_dagster.resources.catalog import Catalog, VideoRow

#: Metric that the quota of processing minutes counts.
PROCESSING_MINUTES = "processing_minutes"


def record_processing(catalog: Catalog, video: VideoRow, function: str, seconds: float) -> None:
    """Add a compute function's wall time to what the video's tenant has used."""
    catalog.record_usage(
        video.tenant_id,
        PROCESSING_MINUTES,
        round(seconds / 60, 4),
        video_id=video.video_id,
        metadata={"function": function},
    )
