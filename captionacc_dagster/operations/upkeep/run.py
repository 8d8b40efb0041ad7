"""Clearing away what nobody needs any more, and comparing the catalogue, the bucket and Dagster's partitions.

Each step finds its cases first, so that a dry run reports just what a real one would do. Nothing that a
reader may still use is touched: objects go after a grace, and before the note that they are gone, so that
an interrupted upkeep is only repeated. Objects that no row knows are removed on request only.
"""

import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import dagster as dg

from captionacc_dagster.dagster_internals.auto_retries import will_be_retried
from captionacc_dagster.dagster_internals.retention import can_trim, count_events, trim_events
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import (
    Catalog,
    CatalogError,
    ComputeCallRow,
    CroppedFramesVersion,
    VideoRow,
)
from captionacc_dagster.runs.outcomes import RETRIED_BY_THEN
from modal_gpu.errors import CaptionAccError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

Kind = Literal[
    "expired lease",
    "abandoned version",
    "failed version",
    "archived version",
    "orphaned call",
    "uncharged call",
    "temporary folder",
    "deleted video",
    "partition without a row",
    "row without a partition",
    "objects without a row",
    "old records",
]

#: Cases of a kind that one upkeep sees to; the next one goes on.
BATCH = 500
#: So many partitions without a row are removed whatever part of all of them they are.
FEW = 20
_PAGE = 1000
#: A call belongs to nobody when its run is over for so long.
CALL_GRACE = timedelta(minutes=10)
#: One that ended so long ago is not charged by its own run any more.
CHARGE_GRACE = timedelta(minutes=10)
#: Names of this platform's temporary folders, as :mod:`tempfile` makes them.
_TEMPORARY = re.compile(r"captionacc-(model-)?[a-z0-9_]{8}")
_OBJECT = re.compile(r"[0-9a-f-]{36}/(?:client|server)/videos/([0-9a-f-]{36})/")


@dataclass(frozen=True)
class UpkeepPolicy:
    """How long things are kept. Days may be fractions."""

    archived_days: float = 30
    failed_days: float = 1
    deleted_days: float = 7
    lease_hours: float = 1
    temporary_days: float = 2
    #: An upload is in the bucket before it is in the catalogue.
    unknown_days: float = 1
    #: How stages ended, ended backfills and requests.
    outcome_days: float = 90
    #: What people did or were refused.
    audit_days: float = 365
    #: Step-by-step events of Dagster's runs, where they are in PostgreSQL.
    event_days: float = 60


@dataclass(frozen=True)
class Finding:
    """One case: what it is about, and what was done, or would be."""

    kind: Kind
    subject: str
    detail: str
    done: bool
    error: str = ""


@dataclass(frozen=True)
class UpkeepReport:
    """What one upkeep found, in the order of its steps."""

    applied: bool
    findings: list[Finding]
    seconds: float

    def counts(self) -> dict[str, int]:
        """Cases by kind."""
        counts: dict[str, int] = defaultdict(int)
        for finding in self.findings:
            counts[finding.kind] += 1
        return dict(counts)

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.error]


@dataclass
class Upkeep:
    """One pass.

    ``cancel_abandoned`` tells the compute backend of calls to cancel, where there is one; ``charge`` writes
    what a remote call has cost that no run has charged.
    """

    catalog: Catalog
    object_store: ObjectStore
    instance: dg.DagsterInstance
    policy: UpkeepPolicy = field(default_factory=UpkeepPolicy)
    apply: bool = False
    remove_unknown_objects: bool = False
    cancel_abandoned: Callable[[Callable[[str], bool]], list[ComputeCallRow]] | None = None
    charge: Callable[[ComputeCallRow], object] | None = None
    temporary_folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))

    def run(self) -> UpkeepReport:
        """All steps. An error of one case is in its finding, and the others go on."""
        started = time.monotonic()
        findings = [
            *self._leases(),
            *self._abandoned_versions(),
            *self._versions("failed", self.policy.failed_days),
            *self._versions("archived", self.policy.archived_days),
            *self._calls(),
            *self._charges(),
            *self._temporary_folders(),
            *self._deleted_videos(),
            *self._partitions_and_rows(),
            *self._old_records(),
        ]
        return UpkeepReport(self.apply, findings, time.monotonic() - started)

    def _finding(self, kind: Kind, subject: str, detail: str, action: Callable[[], object]) -> Finding:
        if not self.apply:
            return Finding(kind, subject, detail, done=False)
        try:
            action()
        except (CaptionAccError, OSError) as error:
            if isinstance(error, CatalogError) and error.lies_with_service:
                raise
            return Finding(kind, subject, detail, done=False, error=str(error))
        return Finding(kind, subject, detail, done=True)

    def _leases(self) -> Iterator[Finding]:
        before = datetime.now(UTC) - timedelta(hours=self.policy.lease_hours)
        expired = [lock for lock in self.catalog.list_locks(include_expired=True) if lock.expires_at < before]
        seconds = self.policy.lease_hours * 3600
        cleared = self.catalog.clear_expired_locks(older_than_seconds=seconds) if self.apply else 0
        for number, lock in enumerate(expired[:BATCH]):
            detail = f"{lock.database_name}.db, held by {lock.owner} until {lock.expires_at:%Y-%m-%d %H:%M}"
            yield Finding("expired lease", lock.video_id, detail, done=number < cleared)

    def _abandoned_versions(self) -> Iterator[Finding]:
        seconds = self.policy.failed_days * 86_400
        for version in self.catalog.abandoned_cropped_frames_versions(BATCH, older_than_seconds=seconds):
            detail = f"version {version.version}, unfinished since {version.created_at:%Y-%m-%d %H:%M}"
            yield self._finding(
                "abandoned version", version.video_id, detail, lambda version=version: self._abandon(version)
            )

    def _abandon(self, version: CroppedFramesVersion) -> None:
        message = "abandoned: no run works on it any more"
        self.catalog.fail_cropped_frames_version(
            version.video_id, version.version, message, run_id=version.run_id
        )

    def _versions(self, status: Literal["failed", "archived"], days: float) -> Iterator[Finding]:
        removable = self.catalog.removable_cropped_frames_versions(
            BATCH, older_than_seconds=days * 86_400, status=status
        )
        kind: Kind = "failed version" if status == "failed" else "archived version"
        for version in removable:
            size = f", {version.total_size_bytes:,} bytes" if version.total_size_bytes else ""
            yield self._finding(
                kind,
                version.video_id,
                f"objects of version {version.version}{size}",
                lambda version=version: self._remove_version(version),
            )

    def _remove_version(self, version: CroppedFramesVersion) -> None:
        keys = VideoKeys(version.tenant_id, version.video_id)
        self.object_store.delete_prefix(keys.cropped_frames_prefix(version.version))
        self.object_store.delete_prefix(keys.caption_frame_extents_parts(version.version))
        self.object_store.delete(keys.caption_frame_extents_db(version.version))
        self.catalog.mark_objects_removed(version.video_id, version.version)

    def _calls(self) -> Iterator[Finding]:
        before = datetime.now(UTC) - CALL_GRACE
        calls = {
            call.id: call
            for call in [
                *self.catalog.undelivered_compute_cancellations(BATCH),
                *self.catalog.list_compute_calls(open_only=True, created_before=before, limit=BATCH),
            ]
            if call.status == "cancelled" or not self._is_alive(call.run_id)
        }
        delivered: set[str] = set()
        undelivered: set[str] = set()
        if self.apply and calls:
            if self.cancel_abandoned is not None:
                told = self.cancel_abandoned(self._is_alive)
                delivered = {c.id for c in told if c.call_id is None or c.cancel_delivered_at is not None}
                # One that the backend could not be told of stays for the next time.
                undelivered = {call.id for call in told} - delivered
            for call in calls.values():
                if call.is_open and call.id not in delivered | undelivered:
                    self.catalog.cancel_compute_call(call.id, message="its run has ended")
        for call in calls.values():
            what = "cancellation to deliver" if call.status == "cancelled" else "its run has ended"
            settled = call.id in delivered or call.status != "cancelled"
            done = self.apply and settled and call.id not in undelivered
            yield Finding("orphaned call", call.video_id, f"{call.function_name}, {what}", done)

    def _charges(self) -> Iterator[Finding]:
        """Remote calls that ended after their run had died: nobody else will charge them."""
        if self.charge is None:
            return
        seconds = CHARGE_GRACE.total_seconds()
        for call in self.catalog.uncharged_compute_calls(older_than_seconds=seconds, limit=BATCH):
            detail = f"{call.function_name}, {call.status} {call.finished_at:%Y-%m-%d %H:%M}"
            yield self._finding("uncharged call", call.video_id, detail, lambda call=call: self.charge(call))

    def _is_alive(self, run_id: str) -> bool:
        """Whether a run works, waits, or is about to be started again."""
        records = self.instance.get_run_records(dg.RunsFilter(run_ids=[run_id]), limit=1)
        if not records:
            return False
        run = records[0].dagster_run
        ended = datetime.fromtimestamp(records[0].end_time or time.time(), UTC)
        soon_again = will_be_retried(run) and datetime.now(UTC) - ended < RETRIED_BY_THEN
        return not run.is_finished or soon_again

    def _temporary_folders(self) -> Iterator[Finding]:
        oldest = time.time() - self.policy.temporary_days * 86_400
        for folder in sorted(self.temporary_folder.glob("captionacc-*")):
            if not _TEMPORARY.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
                continue
            try:
                newest = max((path.lstat().st_mtime for path in [folder, *folder.rglob("*")]), default=0.0)
            except OSError:
                # Somebody is using, or removing, it.
                continue
            if newest < oldest:
                detail = f"untouched since {datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M}"
                yield self._finding(
                    "temporary folder", str(folder), detail, lambda folder=folder: shutil.rmtree(folder)
                )

    def _deleted_videos(self) -> Iterator[Finding]:
        seconds = self.policy.deleted_days * 86_400
        for video in self.catalog.removable_videos(BATCH, older_than_seconds=seconds):
            detail = f"{video.display_path}: objects and partition, deleted {video.deleted_at:%Y-%m-%d %H:%M}"
            yield self._finding(
                "deleted video", video.video_id, detail, lambda video=video: self._remove_video(video)
            )

    def _remove_video(self, video: VideoRow) -> None:
        keys = VideoKeys(video.tenant_id, video.video_id)
        self.object_store.delete_prefix(keys.client_prefix)
        self.object_store.delete_prefix(keys.server_prefix)
        self.object_store.delete(video.storage_key)
        self.instance.delete_dynamic_partition(videos.name, video.video_id)
        self.catalog.mark_video_objects_removed(video.video_id)

    def _partitions_and_rows(self) -> Iterator[Finding]:
        # Partitions first: a video that comes in between has a row by the time that rows are read.
        partitions = set(self.instance.get_dynamic_partitions(videos.name))
        rows = {row.video_id: row for row in self._rows()}
        unknown = sorted(partitions - rows.keys())
        # Another catalogue than usual, most likely: nothing is removed for it.
        doubtful = len(unknown) > max(FEW, len(partitions) * 0.1)
        for key in unknown[:BATCH]:
            if doubtful and self.apply:
                error = f"kept: {len(unknown)} of {len(partitions)} partitions are unknown to this catalogue"
                yield Finding("partition without a row", key, "not in the catalogue", False, error)
                continue
            yield self._finding(
                "partition without a row",
                key,
                "not in the catalogue",
                lambda key=key: self.instance.delete_dynamic_partition(videos.name, key),
            )
        asked_for = {row.video_id for row in rows.values() if row.deleted_at is None and row.layout_tries > 0}
        for video_id in sorted(asked_for - partitions)[:BATCH]:
            yield self._finding(
                "row without a partition",
                video_id,
                rows[video_id].display_path,
                lambda video_id=video_id: self.instance.add_dynamic_partitions(videos.name, [video_id]),
            )
        yield from self._unknown_objects(rows)

    def _rows(self) -> Iterator[VideoRow]:
        page = self.catalog.list_videos(_PAGE, include_deleted=True)
        while page:
            yield from page
            page = self.catalog.list_videos(_PAGE, include_deleted=True, before=page[-1])

    def _old_records(self) -> Iterator[Finding]:
        """What nobody reads any more: what ended long ago, the old audit log, events of Dagster's runs."""
        catalog, seconds = self.catalog, self.policy.outcome_days * 86_400
        if count := catalog.count_stage_outcomes(seconds):
            detail = f"{count:,} older than {self.policy.outcome_days:g} days"
            yield self._finding(
                "old records", "stage outcomes", detail, lambda: catalog.purge_stage_outcomes(seconds)
            )
        for subject, purge, kept_days in (
            ("backfills", catalog.purge_backfills, self.policy.outcome_days),
            ("requests", catalog.purge_requests, self.policy.outcome_days),
            ("audit log", catalog.purge_audit_log, self.policy.audit_days),
        ):
            action = partial(purge, kept_days * 86_400)
            if count := action(dry_run=True):
                detail = f"{count:,} older than {kept_days:g} days"
                yield self._finding("old records", subject, detail, action)
        days = self.policy.event_days
        if can_trim(self.instance) and (count := count_events(self.instance, days)):
            yield self._finding(
                "old records",
                "events of runs",
                f"{count:,} older than {days:g} days",
                lambda: trim_events(self.instance, days),
            )

    def _unknown_objects(self, rows: dict[str, VideoRow]) -> Iterator[Finding]:
        """Objects in a video's place that the catalogue does not have, by video."""
        before = datetime.now(UTC) - timedelta(days=self.policy.unknown_days)
        own_keys = {row.storage_key for row in rows.values()}
        unknown: dict[str, list[tuple[str, int, datetime]]] = defaultdict(list)
        for info in self.object_store.list():
            match = _OBJECT.match(info.key)
            if match and match[1] not in rows and info.key not in own_keys:
                unknown[match[1]].append((info.key, info.size, info.last_modified))
        for video_id, objects in sorted(unknown.items())[:BATCH]:
            if max(modified for _, _, modified in objects) > before:
                continue
            keys = [key for key, _, _ in objects]
            detail = f"{len(keys)} objects, {sum(size for _, size, _ in objects):,} bytes"
            if self.remove_unknown_objects and rows:
                yield self._finding(
                    "objects without a row",
                    video_id,
                    detail,
                    lambda keys=keys: self.object_store.delete(keys),
                )
            else:
                yield Finding("objects without a row", video_id, f"{detail}; removed on request", done=False)
