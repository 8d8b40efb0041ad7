"""The work of the captions' routes: read a video's captions, make edits, import and export subtitle files."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from captionacc_dagster.operations.caption_edits import CaptionsMissingError, edit_captions, stored_captions
from captionacc_dagster.operations.caption_review import (
    Comparison,
    Edit,
    Reviewed,
    replace_captions,
    review_captions,
)
from captionacc_dagster.operations.kept_bytes import KeptBytes
from captionacc_dagster.operations.strip_pictures import StripPictures, find_strips
from captionacc_dagster.operations.subtitle_files import encode_captions
from captionacc_dagster.operations.unfinished_captions import (
    Unfinished,
    UnfinishedCaptions,
    find_unfinished,
)
from captionacc_dagster.resources.catalog import STAGES, Catalog, VideoRow, WrongStateError
from captionacc_dagster.web.service.caption_schemas import (
    CaptionsOut,
    ChangedOut,
    EditOut,
    EditsIn,
    EditsOut,
    FootageOut,
    ImportedOut,
    captions_of,
    counts_of,
    current_of,
)
from captionacc_dagster.web.service.parts import ServiceParts
from captionacc_dagster.web.service.problems import Problem
from modal_gpu.captions.edits import Change, counts
from modal_gpu.captions.matching import match
from modal_gpu.captions.reviewing import ReviewCue, most_doubtful_first, review_cues
from modal_gpu.captions.subtitle_files import read_subtitles
from modal_gpu.captions.subtitles import SubtitleFormat, TimedCue
from modal_gpu.databases.captions import Caption
from modal_gpu.errors import CaptionAccError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage_files import etag_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionDesk:
    """One video's captions, for a caller who may see the video: who may see one may edit it.

    ``catalog`` has the caller's rights; ``editor`` names the caller, as the holder of the lock.
    """

    parts: ServiceParts
    catalog: Catalog
    pictures: StripPictures
    unfinished: UnfinishedCaptions
    answers: KeptBytes
    video: VideoRow
    editor: str

    def tag(self) -> str:
        """Return the entity tag of the list: another after every change of captions, stages or the lock."""
        row = self.video
        stages = [(row.stage(stage).status, row.stage(stage).run_id) for stage in STAGES]
        seen = [row.updated_at, stages, self._locked_by, self._source_frame_seconds]
        facts = [self._stored_tag, *seen, self._so_far.tag]
        return f'"{hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()}"'

    def list_json(self, tag: str, *, doubtful_first: bool = False) -> bytes:
        """Return the captions as JSON; ``tag`` is the list's. Raises as :meth:`listed` does."""
        # Thousands of captions are not validated a second time on their way out.
        return self.answers.get(
            ("captions", self.video.video_id, tag, doubtful_first),
            lambda: self.listed(doubtful_first=doubtful_first).model_dump_json().encode(),
        )

    def listed(self, *, doubtful_first: bool = False) -> CaptionsOut:
        """Return the captions. Raises ``CaptionsMissingError`` if none are there, or in work."""
        working = self._working()
        stored: Sequence[Caption]
        try:
            stored = stored_captions(self.parts.object_store, self.video)
            is_stored = True
        except CaptionsMissingError:
            if not working and self.video.error:
                raise CaptionsMissingError(f"There are no captions: {self.video.error}") from None
            stored, is_stored = self.unfinished.captions(self.video, self._so_far), False
        cues = self._cues(stored)
        if doubtful_first:
            cues = most_doubtful_first(cues)
        unfinished = self.video.text.status == "wait" or bool({"boundaries", "text"} & set(working))
        return CaptionsOut(
            video_id=self.video.video_id,
            name=self.video.display_path,
            partial=unfinished,
            editable=is_stored,
            finished=self.video.boundaries.status == self.video.text.status == "done",
            working=working,
            locked_by=self._locked_by,
            footage=self._footage(),
            captions=captions_of(cues, self.unfinished.texts(self._so_far)),
            **counts_of(cues),
        )

    def edit(self, edit: Edit, yours: dict[str, Any]) -> ChangedOut:
        """Make one edit. A conflict and a refusal are problems; a conflict has both texts."""
        reviewed = self._review([edit])
        (outcome,) = reviewed.outcomes
        if outcome.status == "conflict":
            current = current_of(outcome.current)
            raise Problem(
                409,
                "the caption has changed since it was read: choose one of the two texts",
                reason="caption_changed",
                current={str(k): None if v is None else v.model_dump() for k, v in current.items()},
                yours=yours,
            )
        if outcome.status == "refused":
            raise Problem(422, outcome.message, reason="edit")
        return ChangedOut.of(reviewed)

    def edits(self, asked: EditsIn) -> EditsOut:
        """Make edits under one lease, each by itself."""
        reviewed = self._review(
            [
                Edit(
                    tuple(named.target for named in one.captions),
                    replace_captions([w.wanted for w in one.wanted]),
                )
                for one in asked.edits
            ]
        )
        done = [
            EditOut.of(one.key, outcome) for one, outcome in zip(asked.edits, reviewed.outcomes, strict=True)
        ]
        return EditsOut.of(reviewed, edits=done)

    def imported(self, data: bytes, name: str, *, dry_run: bool) -> ImportedOut:
        """Make a corrected subtitle file's captions this video's, as ``captionacc import`` does."""
        wanted = read_subtitles(data, name)
        matched: list[Change] = []

        def plan(cues: Sequence[TimedCue]) -> list[Change]:
            matched[:] = match(cues, wanted)
            return [] if all(change.kinds == ("kept",) for change in matched) else matched

        edited = edit_captions(
            self.catalog,
            self.parts.object_store,
            self.video,
            plan,
            owner=self.editor,
            growing=self.parts.settings.growing_captions,
            dry_run=dry_run,
        )
        texts = {one.text for change in matched for one in change.after}
        return ImportedOut.of(
            Comparison(self._cues(edited.before), self._cues(edited.captions)),
            counts={str(kind): count for kind, count in counts(matched).items()},
            written=edited.is_written,
            formatting_dropped=sum(one.has_formatting and one.raw not in texts for one in wanted),
        )

    def exported(self, format: SubtitleFormat) -> bytes:
        """Return a subtitle file of the captions as they are."""
        store, keys = self.parts.object_store, VideoKeys(self.video.tenant_id, self.video.video_id)

        def encoded() -> bytes:
            captions = stored_captions(store, self.video)
            return encode_captions(store, self.video, captions, format, self.parts.settings.growing_captions)

        row = self.video
        seen = (row.updated_at, self._stored_tag, etag_of(store, keys.layout_db), format)
        return self.answers.get(("export", row.video_id, *seen), encoded)

    def _cues(self, captions: Sequence[Caption]) -> list[ReviewCue]:
        return review_cues(captions, self.video.timeline, self.parts.settings.growing_captions)

    def _review(self, edits: Sequence[Edit]) -> Reviewed:
        return review_captions(
            self.catalog,
            self.parts.object_store,
            self.video,
            edits,
            owner=self.editor,
            growing=self.parts.settings.growing_captions,
        )

    @cached_property
    def _stored_tag(self) -> str | None:
        """The entity tag of captions.db; ``None`` before there is one."""
        keys = VideoKeys(self.video.tenant_id, self.video.video_id)
        return etag_of(self.parts.object_store, keys.captions_db)

    @cached_property
    def _so_far(self) -> Unfinished:
        has_captions = self._stored_tag is not None
        return find_unfinished(self.catalog, self.parts.object_store, self.video, has_captions=has_captions)

    @cached_property
    def _locked_by(self) -> str | None:
        """The holder of the captions' lock, unless it is this caller."""
        held = (
            lock.owner
            for lock in self.catalog.held_locks()
            if lock.video_id == self.video.video_id and lock.database == "captions"
        )
        return next((owner for owner in held if owner != self.editor), None)

    @cached_property
    def _source_frame_seconds(self) -> float | None:
        try:
            return self.pictures.frame_seconds(self.video)
        except CaptionAccError as error:
            # Captions can be reviewed while the bucket hesitates.
            _log.info("video %s: the source's frame rate is not known: %s", self.video.video_id, error)
            return None

    def _working(self) -> list[str]:
        return [stage for stage in STAGES if self.video.stage(stage).run_id]

    def _footage(self) -> FootageOut:
        row = self.video
        version: int | None = None
        zones = [0]
        try:
            strips = find_strips(self.catalog, row)
            version, zones = strips.version, list(strips.zones)
        except WrongStateError:
            pass
        return FootageOut(
            cropped_frames_version=version,
            frame_count=row.frame_count or 0,
            duration_seconds=row.duration_seconds or 0.0,
            source_frame_seconds=self._source_frame_seconds,
            zones=zones,
            time_spans=row.timeline.rows(),
        )
