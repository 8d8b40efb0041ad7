"""The decision on a video's cropped frames, extents, captions and texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from captionacc_dagster.adoption.files import OldFiles
from captionacc_dagster.adoption.old_extents import OldExtents
from captionacc_dagster.adoption.parts import Part
from captionacc_dagster.adoption.plan_layout import LayoutDecision
from captionacc_dagster.adoption.predecessor import Predecessor
from captionacc_dagster.adoption.rows import OldVideo
from modal_gpu.captions.decoded import DecodedExtents
from modal_gpu.captions.zones import merge_zones
from modal_gpu.databases.captions import Caption
from modal_gpu.errors import DatabaseFileError
from modal_gpu.frame_index import ChunkRef
from modal_gpu.storage import ObjectInfo

Status = Literal["wait", "annotate", "done"]


@dataclass(frozen=True)
class CaptionsDecision:
    """The boundaries and text stages of an adopted video.

    ``captions`` are written even if the stage waits for a run, which keeps people's. ``chunks``, ``extents``
    and ``version`` are those that are taken over; so are the stages of ``reviewed``.
    """

    boundaries: Status = "wait"
    text: Status = "wait"
    captions: tuple[Caption, ...] | None = None
    extents: OldExtents | None = None
    version: int | None = None
    chunks: Mapping[ChunkRef, ObjectInfo] = field(default_factory=dict)
    unread: int = 0
    reviewed: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def of_people(self) -> int:
        """Number of captions that people confirmed or edited."""
        return sum(caption.belongs_to_person for caption in self.captions or ())


def decide_captions(
    old: Predecessor, video: OldVideo, files: OldFiles, layout: LayoutDecision
) -> CaptionsDecision:
    """Decide on the later stages.

    Raises :class:`DatabaseFileError` for a ``captions.db`` that cannot be read, since it may hold edits, and
    :class:`RefusedVideoError`.
    """
    read = old.captions(video, files)
    kept = CaptionsDecision(captions=read.captions if read else None, notes=read.notes if read else ())
    status = video.statuses["boundaries"]
    if status == "wait":
        return kept
    if status == "error":
        return _again(kept, video, f"it had failed: {video.errors.get('boundaries', 'no message')}")
    if layout.status != "done":
        first = "made again" if layout.crop_region else "approved"
        return _again(kept, video, f"its layout has to be {first} first")
    extents, problem = _extents(old, video, files)
    version = video.cropped_frames_version or files.newest_version or 1
    problem = problem or _chunk_problem(files, version, extents)
    if problem or extents is None:
        return _again(kept, video, problem)
    return _taken(kept, video, files, extents, version)


def _reviewed(video: OldVideo) -> tuple[str, ...]:
    return tuple(stage for stage in ("boundaries", "text") if video.statuses[stage] == "done")


def _again(kept: CaptionsDecision, video: OldVideo, why: str) -> CaptionsDecision:
    more = ("it was reviewed, and has to be reviewed again after the run",) if _reviewed(video) else ()
    return replace(kept, parts=(Part("chunks", "run", why),), notes=kept.notes + more)


def _taken(
    kept: CaptionsDecision, video: OldVideo, files: OldFiles, extents: OldExtents, version: int
) -> CaptionsDecision:
    notes = kept.notes + extents.notes
    captions, reviewed = kept.captions, _reviewed(video)
    if captions is None:
        decoded = DecodedExtents.of(extents.packed(version))
        captions = tuple(merge_zones({0: decoded}, video.duration_seconds or 0.0))
        notes += ("captions.db.gz is missing: its captions are decoded from the extents",)
    unread = _unread(captions)
    text: Status = "wait" if unread else "annotate"
    if "text" in reviewed:
        text = "done"
    parts = [Part("chunks", "as_is"), Part("extents", "converted"), Part("captions", "converted")]
    if video.statuses["text"] == "error" and text == "wait":
        parts.append(Part("text", "run", f"it had failed: {video.errors.get('text', 'no message')}"))
    elif text != "wait":
        parts.append(Part("text", "converted"))
    return replace(
        kept,
        boundaries="done" if "boundaries" in reviewed else "annotate",
        text=text,
        captions=captions,
        extents=extents,
        version=version,
        chunks=files.chunks[version],
        unread=len(unread) if text == "wait" else 0,
        reviewed=reviewed,
        parts=tuple(parts),
        notes=notes,
    )


def _unread(captions: Sequence[Caption]) -> list[Caption]:
    """Return the captions that are shown and have neither a person's text nor OCR's."""
    return [c for c in captions if c.state != "gap" and c.text is None and c.ocr_status != "completed"]


def _extents(old: Predecessor, video: OldVideo, files: OldFiles) -> tuple[OldExtents | None, str]:
    try:
        extents = old.extents(video, files)
    except DatabaseFileError as error:
        return None, str(error)
    if extents is None:
        return None, "caption_frame_extents.db.gz is missing"
    if extents.is_mock:
        return None, f"its extents are invented: their model is {extents.run.model_version}"
    return extents, ""


def _chunk_problem(files: OldFiles, version: int, extents: OldExtents | None) -> str:
    if extents is None:
        return ""
    count = extents.frame_count
    if foreign := files.foreign_chunks.get(version):
        return f"{foreign} of its chunks are of overlapping levels"
    missing = files.missing_chunks(version, count)
    if not missing:
        return ""
    frames = sum(len(ref.members(count)) for ref in missing)
    return f"{frames} of its {count} cropped frames are in no chunk"
