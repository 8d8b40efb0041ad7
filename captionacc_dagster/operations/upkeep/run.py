"""One upkeep pass.

Each step finds its cases first, so that a dry run reports exactly what a real one would do. Nothing that a
reader may still use is removed: objects are removed after a grace period, and before the catalogue records
that they are gone, so that an interrupted pass is repeated by the next one. Objects that no row knows are
removed only on request.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from captionacc_dagster.operations.upkeep.calls import CancelAbandoned, orphaned_calls, uncharged_calls
from captionacc_dagster.operations.upkeep.deleted_videos import deleted_videos
from captionacc_dagster.operations.upkeep.findings import Finding, UpkeepPolicy, UpkeepReport, Workplace
from captionacc_dagster.operations.upkeep.leases import expired_leases
from captionacc_dagster.operations.upkeep.old_records import old_records
from captionacc_dagster.operations.upkeep.partitions import partitions_without_a_row, rows_without_a_partition
from captionacc_dagster.operations.upkeep.temporary_folders import temporary_folders
from captionacc_dagster.operations.upkeep.unknown_objects import objects_without_a_row
from captionacc_dagster.operations.upkeep.versions import (
    abandoned_versions,
    archived_versions,
    failed_versions,
)
from captionacc_dagster.partitions import VIDEO_PARTITIONS
from captionacc_dagster.resources.catalog import Catalog, ComputeCallRow, VideoRow
from modal_gpu.storage import ObjectStore

_PAGE = 1000


@dataclass
class Upkeep:
    """One pass.

    ``apply``: act on the findings instead of only reporting them. ``cancel_abandoned`` cancels calls on the
    compute backend, if there is one; ``charge`` charges a call that no run has charged.
    """

    catalog: Catalog
    object_store: ObjectStore
    instance: dg.DagsterInstance
    policy: UpkeepPolicy = field(default_factory=UpkeepPolicy)
    apply: bool = False
    remove_unknown_objects: bool = False
    cancel_abandoned: CancelAbandoned | None = None
    charge: Callable[[ComputeCallRow], object] | None = None
    temporary_folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))

    def run(self) -> UpkeepReport:
        """Run all steps. A case that fails has its error in its finding, and the others go on."""
        started = time.monotonic()
        work = Workplace(self.catalog, self.object_store, self.instance, self.policy, self.apply)
        findings = [
            *expired_leases(work),
            *abandoned_versions(work),
            *failed_versions(work),
            *archived_versions(work),
            *orphaned_calls(work, self.cancel_abandoned),
            *uncharged_calls(work, self.charge),
            *temporary_folders(work, self.temporary_folder),
            *deleted_videos(work),
            *self._differences(work),
            *old_records(work),
        ]
        return UpkeepReport(self.apply, findings, time.monotonic() - started)

    def _differences(self, work: Workplace) -> Iterator[Finding]:
        # Partitions first: a video that is added in between has a row by the time the rows are read.
        partitions = set(self.instance.get_dynamic_partitions(VIDEO_PARTITIONS))
        rows = {row.video_id: row for row in self._rows()}
        yield from partitions_without_a_row(work, partitions, rows)
        yield from rows_without_a_partition(work, partitions, rows)
        yield from objects_without_a_row(work, rows, remove=self.remove_unknown_objects)

    def _rows(self) -> Iterator[VideoRow]:
        page = self.catalog.list_videos(_PAGE, include_deleted=True)
        while page:
            yield from page
            page = self.catalog.list_videos(_PAGE, include_deleted=True, before=page[-1])
