"""The adoption of a video: its objects first, then its row, and then what Dagster shows of it.

Each step may be repeated. The row is written when all objects are there, and names the predecessor's state
that they were made from; a video with a row of that state is not made again, so people may work on it at
once. What was interrupted before the row is made again from the predecessor, which has not changed.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from captionacc_dagster.adoption.copying import copies, copy_all
from captionacc_dagster.adoption.plan import Plan
from captionacc_dagster.adoption.predecessor import Predecessor
from captionacc_dagster.adoption.rows import OldProfile, OldTenant
from captionacc_dagster.operations.subtitle_files import SubtitleFiles
from captionacc_dagster.partition_keys import partition_key_for
from captionacc_dagster.resources.catalog import (
    AlreadyRegisteredError,
    Catalog,
    InvalidArgumentError,
    LockHeldError,
    UnknownVideoError,
    VideoDeletedError,
    VideoRow,
    WrongStateError,
)
from captionacc_dagster.resources.catalog.rows.adoptions import AdoptedVideo, Adoption
from captionacc_dagster.resources.catalog.rows.work import DatabaseName
from modal_gpu.captions.growth import Growing
from modal_gpu.captions.subtitles import shown, to_srt, to_vtt
from modal_gpu.databases.captions import write_captions
from modal_gpu.databases.layout import write_layout
from modal_gpu.databases.raw_ocr import write_raw_ocr
from modal_gpu.errors import InvalidCropRegionError, InvalidKeyError
from modal_gpu.frame_index import frame_count
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

_GZIP = "application/gzip"
DATABASES: tuple[DatabaseName, ...] = ("layout", "captions")
#: Who is shown as having approved a layout: the predecessor does not keep that.
APPROVED_BY = "a person, in the predecessor"
#: ``adopted``: now; ``unchanged``: before, and nothing has changed there since; ``kept``: it has changed
#: there and here, and stays as it is here; ``refused``: by the plan.
State = Literal["adopted", "unchanged", "kept", "refused"]


@dataclass(frozen=True)
class Adopted:
    """The result for one video. ``row`` is ``None`` if it was refused, or could not be looked up.

    ``detail`` says why it was kept, or refused after it was planned.
    """

    plan: Plan
    state: State
    row: VideoRow | None = None
    detail: str = ""


@dataclass
class Adopter:
    """Writes adopted videos into this platform's bucket and catalogue."""

    old: Predecessor
    catalog: Catalog
    store: ObjectStore
    growing: Growing

    def ensure_tenant(self, tenant: OldTenant) -> None:
        """Register a tenant that is not here; one that is keeps its name, tier and limits."""
        self.catalog.ensure_tenant(tenant.tenant_id, tenant.name[:200], tier=tenant.tier)

    def adopt_profiles(self, profiles: Iterable[OldProfile]) -> int:
        """Register the profiles of users who have none here; return their number.

        A user that does not exist here (on Supabase a profile belongs to one of its project) is left out,
        and named in ``old.notes``.
        """
        count = 0
        for profile in profiles:
            if self.catalog.get_profile(profile.user_id) is not None:
                continue
            try:
                self.catalog.set_user_profile(
                    profile.user_id,
                    profile.tenant_id,
                    role=profile.role,
                    approval_status=profile.approval_status,
                )
                count += 1
            except InvalidArgumentError as error:
                self.old.notes.append(f"user {profile.user_id} has no profile here: {error}")
        return count

    def adopt(self, plan: Plan) -> Adopted:
        """Adopt one video, or find that nothing is to be done.

        A video that was registered here otherwise, that was deleted here, or that has changed on both sides
        is left as it is. Raises :class:`~modal_gpu.errors.StorageError` and ``CatalogUnavailableError``; the
        same call then goes on.
        """
        if plan.verdict == "refused":
            return Adopted(plan, "refused")
        video_id = plan.video.video_id
        try:
            row, adoption = self._as_it_is(video_id)
            if row is not None and adoption is not None and adoption.fingerprint == plan.fingerprint:
                return Adopted(plan, "unchanged", row)
            if row is not None and not self.catalog.is_adoption_untouched(video_id):
                return Adopted(plan, "kept", row, _why_kept(adoption))
            # Not the databases yet: these objects are the same whoever copies them, and it takes long.
            copy_all(self.old.store, self.store, plan.video.keys, copies(plan))
            with self._alone(row):
                # Nobody can edit it now; what was edited before must not be overwritten.
                if row is not None and not self.catalog.is_adoption_untouched(video_id):
                    return Adopted(plan, "kept", row, _why_kept(adoption))
                if row is None and (other := self._as_it_is(video_id)[0]) is not None:
                    return Adopted(plan, "kept", other, "another process has adopted it meanwhile")
                self._put_databases(plan)
                adopted = self.catalog.adopt_video(self._described(plan))
        except (WrongStateError, AlreadyRegisteredError, VideoDeletedError, LockHeldError) as error:
            return Adopted(plan, "kept", detail=str(error))
        except (InvalidArgumentError, InvalidCropRegionError, InvalidKeyError) as error:
            # A value that no column takes: this video is refused, the others are not.
            return Adopted(plan, "refused", detail=str(error))
        return Adopted(plan, "adopted", adopted)

    def _as_it_is(self, video_id: str) -> tuple[VideoRow | None, Adoption | None]:
        try:
            row = self.catalog.get_video(video_id)
        except UnknownVideoError:
            return None, None
        if row.deleted_at is not None:
            raise VideoDeletedError(f"video {video_id} was deleted here")
        return row, self.catalog.get_adoption(video_id)

    @contextlib.contextmanager
    def _alone(self, row: VideoRow | None) -> Iterator[None]:
        """Hold both databases of a video that is here already, so that nobody edits it meanwhile."""
        with contextlib.ExitStack() as stack:
            if row is not None:
                for name in DATABASES:
                    stack.enter_context(self.catalog.lease(row.video_id, name, "adopt", wait_seconds=2))
            yield

    def _put_databases(self, plan: Plan) -> None:
        keys, layout, captions = plan.video.keys, plan.layout, plan.captions
        if layout.ocr is not None:
            self.store.put(keys.raw_ocr_db, write_raw_ocr(layout.ocr.frames), _GZIP)
        if layout.file is not None:
            self.store.put(keys.layout_db, write_layout(layout.file), _GZIP)
        if captions.extents is not None and captions.version is not None:
            packed = captions.extents.packed(captions.version)
            self.store.put(keys.caption_frame_extents_db(captions.version), packed, _GZIP)
        if captions.captions is not None:
            self.store.put(keys.captions_db, write_captions(captions.captions), _GZIP)
            if captions.text != "wait":
                # Its times are not known to differ from a player's before a run reads the file.
                texts = [write(captions.captions, growing=self.growing) for write in (to_srt, to_vtt)]
                SubtitleFiles(*texts).put(self.store, keys)

    def _described(self, plan: Plan) -> AdoptedVideo:
        video, layout, captions, keys = plan.video, plan.layout, plan.captions, plan.video.keys
        is_read = layout.status != "wait"
        count = captions.extents.frame_count if captions.extents else None
        return AdoptedVideo(
            tenant_id=keys.tenant_id,
            video_id=keys.video_id,
            fingerprint=plan.fingerprint,
            storage_key=keys.video,
            size_bytes=plan.files.upload.size if plan.files.upload else 0,
            display_path=video.name,
            partition_key=partition_key_for(video.name, keys.video_id),
            uploaded_at=video.uploaded_at,
            uploaded_by_user_id=video.uploaded_by_user_id,
            is_demo=video.is_demo,
            duration_seconds=video.duration_seconds if is_read else None,
            width=layout.file.frame_width if is_read and layout.file else None,
            height=layout.file.frame_height if is_read and layout.file else None,
            frame_count=(count or frame_count(video.duration_seconds or 0.0)) if is_read else None,
            full_frame_count=len(plan.files.frames) if is_read else None,
            ocr_box_count=layout.ocr.box_count if layout.ocr else None,
            layout_status=layout.status,
            proposed_crop_region=layout.proposed,
            crop_region=layout.crop_region,
            approved_by=APPROVED_BY if layout.crop_region else None,
            approved_at=layout.approved_at,
            has_layout_db=layout.file is not None,
            boundaries_status=captions.boundaries,
            version=_version(plan, keys),
            caption_count=len(captions.captions or ()) if captions.boundaries != "wait" else None,
            has_captions_db=captions.captions is not None,
            text_status=captions.text,
            text_caption_count=self._text_count(plan),
        )

    def _text_count(self, plan: Plan) -> int | None:
        captions = plan.captions
        if captions.text == "wait":
            return None
        return len(shown(captions.captions or (), growing=self.growing))


def _why_kept(adoption: Adoption | None) -> str:
    if adoption is None:
        return "it is registered here already, and was not adopted"
    return "it has changed there and here since it was adopted; it stays as it is here"


def _version(plan: Plan, keys: VideoKeys) -> dict[str, Any] | None:
    captions = plan.captions
    if captions.extents is None or captions.version is None:
        return None
    run = captions.extents.run
    return {
        "version": captions.version,
        "chunk_count": len(captions.chunks),
        "total_frames": captions.extents.frame_count,
        "total_size_bytes": sum(info.size for info in captions.chunks.values()),
        "run_id": run.run_id,
        "model_version": run.model_version,
        "storage_key": keys.caption_frame_extents_db(captions.version),
        "processing_time_seconds": run.processing_time_seconds,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
    }


def unreported(catalog: Catalog, results: Iterable[Adopted]) -> Sequence[tuple[VideoRow, Adoption]]:
    """Return the adopted videos whose events Dagster does not have yet."""
    found = []
    for result in results:
        if result.row is None or result.state in ("refused", "kept"):
            continue
        adoption = catalog.get_adoption(result.row.video_id)
        if adoption is not None and adoption.reported_at is None:
            found.append((result.row, adoption))
    return found
