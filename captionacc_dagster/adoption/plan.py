"""The plan of an adoption: of each video what is taken over, converted, made again by a run, or refused."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from captionacc_dagster.adoption.errors import RefusedVideoError
from captionacc_dagster.adoption.files import OldFiles
from captionacc_dagster.adoption.parts import Part
from captionacc_dagster.adoption.plan_captions import CaptionsDecision, decide_captions
from captionacc_dagster.adoption.plan_layout import LayoutDecision, decide_layout
from captionacc_dagster.adoption.predecessor import Predecessor
from captionacc_dagster.adoption.rows import OldLock, OldProfile, OldTenant, OldVersion, OldVideo
from captionacc_dagster.costs.estimates import Estimate, VideoWork, estimate
from captionacc_dagster.costs.ledger import CostPolicy
from captionacc_dagster.resources.compute import FanOut
from modal_gpu.deployment.settings import CAPTION_OCR, CROP_AND_INFER, EXTRACT
from modal_gpu.errors import ContractError, DatabaseFileError, InvalidIdError
from modal_gpu.keys import canonical_uuid

Verdict = Literal["as_is", "converted", "run", "refused"]
VERDICTS: Mapping[Verdict, str] = {
    "as_is": "taken over as it is",
    "converted": "converted",
    "run": "made again by a run",
    "refused": "refused",
}
#: A client's lock without a sign of life for this long was left behind; so its own clean-up had it.
CLIENT_IDLE = timedelta(minutes=30)
#: The longest time limit of its functions, and as much again for the queue. Its system locks never expire.
SERVER_IDLE = timedelta(hours=2)


@dataclass(frozen=True)
class Plan:
    """The plan for one video. ``reasons``: why it is refused or made again, and what else to know.

    ``runs`` are the functions that are called for it without a further decision of a person.
    """

    video: OldVideo
    verdict: Verdict
    reasons: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    runs: tuple[Estimate, ...] = ()
    fingerprint: str = ""
    files: OldFiles = field(default_factory=OldFiles)
    layout: LayoutDecision = field(default_factory=LayoutDecision)
    captions: CaptionsDecision = field(default_factory=CaptionsDecision)

    @property
    def usd(self) -> float:
        """Expected cost of the runs on Modal, in US dollars."""
        return sum(run.usd for run in self.runs)


@dataclass
class Planner:
    """Plans the adoption of a predecessor's videos. ``now`` decides which locks were left behind."""

    old: Predecessor
    costs: CostPolicy
    fan_out: FanOut
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _locks: dict[str, list[OldLock]] = field(default_factory=dict)
    _versions: dict[str, list[OldVersion]] = field(default_factory=dict)
    tenants: dict[str, OldTenant] = field(default_factory=dict)
    profiles: dict[str, list[OldProfile]] = field(default_factory=dict)

    def plans(self, *, tenant_id: str | None = None, video_id: str | None = None) -> Iterator[Plan]:
        """Yield the plans of all videos, or of a tenant's, or of one, in the order of their uploads."""
        videos = self.old.videos(tenant_id=tenant_id, video_id=video_id)
        self._locks, self._versions = self.old.locks(tenant_id), self.old.versions(tenant_id)
        self.tenants, self.profiles = self.old.tenants(), self.old.profiles()
        for video in videos:
            yield self.plan(video)

    def plan(self, video: OldVideo) -> Plan:
        """Plan one video, which is refused rather than failing the others."""
        try:
            self._refuse_row(video)
            files = self.old.files(video)
            self._refuse_upload(video, files)
            layout = decide_layout(self.old, video, files, self._versions.get(video.video_id, ()))
            captions = decide_captions(self.old, video, files, layout)
        except DatabaseFileError as error:
            advice = "it may hold people's work: restore an earlier version of it there"
            return Plan(video, "refused", (f"{error}; {advice}",))
        except (RefusedVideoError, InvalidIdError, ContractError) as error:
            return Plan(video, "refused", (str(error),))
        parts = (Part("upload", "as_is"), *layout.parts, *captions.parts)
        outcomes = {part.outcome for part in parts}
        verdict: Verdict = "run" if "run" in outcomes else "converted" if "converted" in outcomes else "as_is"
        again = [f"{part.name}: {part.detail}" for part in parts if part.outcome == "run"]
        return Plan(
            video,
            verdict,
            (*again, *layout.notes, *captions.notes),
            parts,
            tuple(self._runs(video, files, layout, captions)),
            _fingerprint(video, files),
            files,
            layout,
            captions,
        )

    def _refuse_row(self, video: OldVideo) -> None:
        canonical_uuid(video.tenant_id, "tenant id")
        canonical_uuid(video.video_id, "video id")
        if video.deleted_at is not None:
            raise RefusedVideoError(f"it was deleted on {video.deleted_at:%Y-%m-%d}")
        if video.is_uploading:
            raise RefusedVideoError("its upload has not been finished")
        for lock in self._locks.get(video.video_id, ()):
            idle = CLIENT_IDLE if lock.lock_type == "client" else SERVER_IDLE
            if lock.since is None or self.now - lock.since > idle:
                continue
            who = "a person edits it" if lock.lock_type == "client" else "a flow works on it"
            raise RefusedVideoError(
                f"{who} there ({lock.database_name} is locked since {lock.since:%H:%M} UTC): adopt it later"
            )

    def _refuse_upload(self, video: OldVideo, files: OldFiles) -> None:
        if files.upload is None:
            raise RefusedVideoError(f"its upload is not in the bucket ({video.storage_key or 'no key'})")
        if not files.upload.size:
            raise RefusedVideoError("its upload is empty")

    def _runs(
        self, video: OldVideo, files: OldFiles, layout: LayoutDecision, captions: CaptionsDecision
    ) -> Iterator[Estimate]:
        size = files.upload.size if files.upload else 0
        work = VideoWork.of_upload(size, video.duration_seconds, video.width, video.height)
        functions: Sequence[str] = ()
        if layout.status == "wait":
            functions = (EXTRACT, CROP_AND_INFER, CAPTION_OCR) if layout.crop_region else (EXTRACT,)
        elif layout.status == "done" and captions.boundaries == "wait":
            functions = (CROP_AND_INFER, CAPTION_OCR)
        elif captions.boundaries != "wait" and captions.text == "wait":
            work = VideoWork(work.seconds, work.width, work.height, captions=captions.unread)
            functions = (CAPTION_OCR,)
        for function in functions:
            yield estimate(function, work, self.costs.app, self.costs.prices, self.fan_out)


def _fingerprint(video: OldVideo, files: OldFiles) -> str:
    """Return a hash of the row and of the objects' keys, sizes and tags: another one means a change there."""
    facts: list[object] = [
        video.name,
        video.storage_key,
        video.uploaded_by_user_id,
        video.is_demo,
        video.duration_seconds,
    ]
    facts += [video.width, video.height, video.cropped_frames_version, *sorted(video.statuses.items())]
    digest = hashlib.sha256(repr(facts).encode())
    infos = [files.upload, *files.databases.values(), *files.frames.values(), *files.thumbnails.values()]
    infos += [info for refs in files.chunks.values() for info in refs.values()]
    for info in sorted((i for i in infos if i is not None), key=lambda i: i.key):
        digest.update(f"\n{info.key} {info.size} {info.etag}".encode())
    return digest.hexdigest()
