"""Objects at a video's place in the bucket that the catalogue does not know."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from captionacc_dagster.constants import UPKEEP_BATCH
from captionacc_dagster.operations.upkeep.findings import Finding, Workplace
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.storage import ObjectInfo

_KEY = re.compile(r"[0-9a-f-]{36}/(?:client|server)/videos/([0-9a-f-]{36})/")


def objects_without_a_row(
    work: Workplace, rows: Mapping[str, VideoRow], *, remove: bool
) -> Iterator[Finding]:
    """Report unknown objects by video; delete them with ``remove``, unless the catalogue is empty."""
    before = datetime.now(UTC) - timedelta(days=work.policy.unknown_days)
    for video_id, objects in sorted(_unknown(work, rows).items())[:UPKEEP_BATCH]:
        if max(info.last_modified for info in objects) > before:
            continue
        detail = f"{len(objects)} objects, {sum(info.size for info in objects):,} bytes"
        if remove and rows:
            delete = partial(work.object_store.delete, [info.key for info in objects])
            yield work.handle("objects without a row", video_id, detail, delete)
        else:
            yield Finding("objects without a row", video_id, f"{detail}; removed on request", done=False)


def _unknown(work: Workplace, rows: Mapping[str, VideoRow]) -> dict[str, list[ObjectInfo]]:
    own_keys = {row.storage_key for row in rows.values()}
    unknown: dict[str, list[ObjectInfo]] = defaultdict(list)
    for info in work.object_store.list():
        match = _KEY.match(info.key)
        if match and match[1] not in rows and info.key not in own_keys:
            unknown[match[1]].append(info)
    return unknown
