"""``restorations``: restores partitions and materializations that Dagster lost and the catalogue has.

A new installation gets its first report of upkeep here, which has something to show before the first night.
"""

import logging
import time
from datetime import UTC, datetime

import dagster as dg

from captionacc_dagster.assets.restoration import Restorer, find_lost, known_partitions
from captionacc_dagster.assets.upkeep import first_report
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import Catalog, UnknownVideoError, VideoRow
from modal_gpu.errors import CaptionAccError
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)

#: Rows compared at once.
PAGE = 1000
#: A tick compares pages for this long, at least one; the next tick continues there.
LOOK_SECONDS = 1.0
#: Materializations that a tick restores, give or take a row's; each costs the daemon about 10 ms.
MOST = 1000
#: Limit of the time spent on looking up how they were reported; Dagster ends a tick after 60 s.
RESTORE_SECONDS = 15.0


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Compares the catalogue's videos with Dagster's partitions and materializations, the newest first, a "
        "few thousand a tick, and restores what was deleted or wiped in the UI. Makes the first report of "
        "upkeep."
    ),
)
def restorations(
    context: dg.SensorEvaluationContext,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
) -> dg.SensorResult:
    """Compare the next pages of videos and restore what is missing. The cursor is the last video compared.

    The time of a tick is bounded, however many videos there are.
    """
    started = time.monotonic()
    partitions = known_partitions(context.instance)
    last, compared = _resume(context.cursor, catalog), 0
    while True:
        rows = catalog.list_videos(PAGE, before=last)
        lost = find_lost(rows, partitions, context.instance, datetime.now(UTC))
        compared += len(rows)
        if lost or len(rows) < PAGE or time.monotonic() - started > LOOK_SECONDS:
            break
        last = rows[-1]
    events: list[dg.AssetMaterialization] = []
    is_complete = True
    restorer = Restorer(context.instance, object_store)
    for row in rows:
        if len(events) >= MOST or time.monotonic() - started > RESTORE_SECONDS:
            is_complete = False
            break
        events += restorer.events(row, lost.materializations.get(row.partition_key, ()))
    if is_complete:
        # The next page, or the newest again.
        last = rows[-1] if len(rows) == PAGE else None
    restored = len(events)
    # With more videos there is a report, or a first one takes longer than a tick may.
    is_small = not context.cursor and compared < PAGE
    if is_small and (report := _first_report(context, catalog, object_store)):
        events.append(report)
    seen = f"{compared} videos compared, {len(lost.partitions)} partitions and {restored} materializations"
    return dg.SensorResult(
        skip_reason=f"{seen} restored",
        dynamic_partitions_requests=[videos.build_add_request(lost.partitions)] if lost.partitions else [],
        asset_events=events,
        cursor=last.video_id if last else "",
    )


def _first_report(
    context: dg.SensorEvaluationContext, catalog: Catalog, object_store: ObjectStore
) -> dg.AssetMaterialization | None:
    try:
        return first_report(catalog, object_store, context.instance)
    except CaptionAccError as error:
        _log.warning("the first report of upkeep is made later: %s", error)
        return None


def _resume(cursor: str | None, catalog: Catalog) -> VideoRow | None:
    """Return the row after which the last tick ended; None to begin with the newest."""
    try:
        return catalog.get_video(cursor) if cursor else None
    except UnknownVideoError:
        return None
