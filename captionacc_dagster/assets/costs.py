"""Time and money that a tenant's videos cost, for its quota and its bill."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from captionacc_dagster.assets.pictures.links import INLINE_LENGTH, js_length
from captionacc_dagster.costs.estimates import VideoWork, actual, estimate
from captionacc_dagster.costs.ledger import CostPolicy, charge, cost_policy, reserve
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.resources.compute import Compute
from captionacc_dagster.settings import get_settings
from modal_gpu.errors import CaptionAccError

#: Metric that the quota of processing minutes is checked against.
PROCESSING_MINUTES = "processing_minutes"
#: Calls that an asset's metadata links to.
SHOWN_CALLS = 10
#: Run tag with the cost of all calls of the run.
COST_TAG = "captionacc/cost_usd"


def record_processing(catalog: Catalog, video: VideoRow, function: str, seconds: float) -> None:
    """Add a compute function's wall time to the usage of the video's tenant."""
    catalog.record_usage(
        video.tenant_id,
        PROCESSING_MINUTES,
        round(seconds / 60, 4),
        video_id=video.video_id,
        metadata={"function": function},
    )


@contextmanager
def spending(
    context: dg.AssetExecutionContext, catalog: Catalog, compute: Compute, video: VideoRow, function: str
) -> Iterator["Spending"]:
    """Charge the billed calls that one function makes for a video in this block when the block ends.

    Runs on failure too: failed and cancelled calls are billed.
    """
    money = Spending(context, catalog, compute, video, function)
    try:
        yield money
    finally:
        money.settle()


class Spending:
    """Expected and actual cost of one function's calls for a video. Does nothing for free compute."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        catalog: Catalog,
        compute: Compute,
        video: VideoRow,
        function: str,
    ) -> None:
        self._context, self._catalog, self._video = context, catalog, video
        self._function, self._run_id = function, context.run.run_id
        self._fan_out = compute.fan_out
        #: ``None``: calls are free.
        self._policy: CostPolicy | None = cost_policy(get_settings()) if compute.is_billed else None
        #: ``cost_usd``, ``estimated_cost_usd``, ``gpu_seconds`` and ``vision_images`` of the calls so far.
        self.metadata: dict[str, Any] = {}

    def expect(self, work: VideoWork) -> None:
        """Reserve the expected cost of ``work``; to be called before the function.

        ``work`` is everything that this asset requests, earlier calls included. Raises
        :class:`~captionacc_dagster.costs.estimates.CostLimitError` beyond a limit; the function must not be
        called then.
        """
        if self._policy is None:
            return
        self._charge(self._policy)
        expected = estimate(self._function, work, self._policy.app, self._policy.prices, self._fan_out)
        reserve(
            self._catalog,
            self._policy,
            self._video.video_id,
            self._run_id,
            expected,
            frame_count=self._video.frame_count,
        )
        self.metadata["estimated_cost_usd"] = expected.usd
        self._context.log.info(
            f"{self._function}: about ${expected.usd:.4f} for {expected.calls} calls on {expected.gpu} "
            f"({expected.seconds:.0f} s in {expected.containers} containers)"
        )

    def settle(self) -> None:
        """Charge the calls that ended and release the rest of the reservation; upkeep does it on failure."""
        if self._policy is None or not self.metadata:
            return
        try:
            self._charge(self._policy)
            self._catalog.release_cost(self._video.video_id, self._run_id, self._function)
            self._show(self._policy)
        except CaptionAccError as error:
            self._context.log.warning(f"the cost of the run's calls is not written yet: {error}")

    def _charge(self, policy: CostPolicy) -> None:
        charge(self._catalog, policy, self._catalog.uncharged_compute_calls(run_id=self._run_id))

    def _show(self, policy: CostPolicy) -> None:
        rows = self._catalog.list_compute_calls(run_id=self._run_id, limit=10_000)
        own = [row for row in rows if row.function_name == self._function]
        charges = [
            actual(
                row.function_name,
                row.usage,
                policy.app,
                policy.prices,
                started_at=row.started_at,
                finished_at=row.finished_at,
            )
            for row in own
        ]
        self.metadata["cost_usd"] = round(sum(row.cost_usd or 0.0 for row in own), 6)
        self.metadata["gpu_seconds"] = round(sum(one.gpu_seconds for one in charges), 3)
        if images := sum(one.vision_images for one in charges):
            self.metadata["vision_images"] = images
        total = sum(row.cost_usd or 0.0 for row in rows)
        self._context.instance.add_run_tags(self._run_id, {COST_TAG: f"{total:.6f}"})


def call_metadata(compute: Compute) -> dict[str, Any]:
    """Return metadata of an asset's billed calls since the last time: links, GPUs, seconds in containers."""
    reports = compute.take_reports()
    if not reports:
        return {}
    links = [f"[{report.call_id}]({report.url})" for report in reports if report.call_id]
    shown = SHOWN_CALLS
    while js_length(text := _some(links, shown)) >= INLINE_LENGTH:
        shown -= 1
    return {
        "remote_calls": dg.MetadataValue.md(text),
        "remote_call_count": len(reports),
        "gpu": ", ".join(sorted({report.gpu for report in reports if report.gpu})) or "none",
        "container_seconds": round(sum(report.seconds or 0.0 for report in reports), 2),
        "cold_start_seconds": round(sum(report.cold_start_seconds or 0.0 for report in reports), 2),
    }


def _some(links: Sequence[str], shown: int) -> str:
    more = f" and {len(links) - shown} more" if len(links) > shown else ""
    return ", ".join(links[:shown]) + more
