"""The results of one side for a video, in the form in which two sides are compared."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from modal_gpu.captions.subtitle_files import FileCue
from modal_gpu.captions.subtitles import TimedCue
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.layout import LayoutBox, LayoutFile
from modal_gpu.frame_index import INDEX_RATE, ChunkRef
from modal_gpu.timeline import Timeline

#: Returns the picture of a caption strip at a frame index as RGB uint8 (h, w, 3); None if there is none.
Picture = Callable[[int], np.ndarray | None]


def no_picture(index: int) -> np.ndarray | None:
    """Return no picture, for a side without frames."""
    return None


@dataclass(frozen=True)
class SideCaption:
    """A caption on screen in ``[start, end)``, in milliseconds as players count.

    ``text`` is ``None`` if nobody has read it, and empty if it was read as no caption. ``frames`` is the
    half-open range of 10 Hz indices, ``zone`` the caption zone; both are ``None`` if the side does not say.
    """

    start: int
    end: int
    text: str | None
    id: int | None = None
    zone: int | None = 0
    frames: range | None = None
    #: Whether a person wrote the text, and whether a person confirmed the times.
    has_persons_text: bool = False
    has_persons_times: bool = False
    #: A person's marks: that it is an issue, its status and its notes.
    marks: tuple[str, ...] = ()

    @property
    def belongs_to_person(self) -> bool:
        """True if a person confirmed, edited or marked it."""
        return self.has_persons_text or self.has_persons_times or bool(self.marks)


@dataclass(frozen=True)
class SideLayout:
    """The layout of a side. ``is_approved``: whether ``crop_region`` is approved."""

    crop_region: CropRegion
    is_approved: bool
    boxes: tuple[LayoutBox, ...] = ()


@dataclass(frozen=True)
class SideChunks:
    """The chunks of zone 0 that a side has stored, of a video of ``frame_count`` 10 Hz indices."""

    frame_count: int
    stored: frozenset[ChunkRef]


@dataclass(frozen=True)
class Side:
    """The results of a side. A part is ``None`` if the side does not have it; ``note`` then says why."""

    name: str
    captions: tuple[SideCaption, ...] | None = None
    layout: SideLayout | None = None
    chunks: SideChunks | None = None
    note: str = ""
    picture: Picture = field(default=no_picture, compare=False, repr=False)


def captions_of(captions: Iterable[Caption], timeline: Timeline) -> tuple[SideCaption, ...]:
    """Return the rows of a ``captions.db``, without those that OCR read as empty.

    A gap, which people's edits leave, is a caption with an empty text: nothing is to be shown there.
    """
    return tuple(
        SideCaption(
            round(timeline.start(caption.start_seconds, caption.start_index) * 1000),
            round(timeline.end(caption.end_seconds, caption.end_index) * 1000),
            _text(caption),
            caption.id,
            caption.zone,
            range(caption.start_index, caption.end_index),
            has_persons_text=caption.text is not None or caption.state == "gap",
            has_persons_times=caption.state == "confirmed",
            marks=_marks(caption),
        )
        for caption in captions
        if caption.belongs_to_person or _text(caption) != ""
    )


def _text(caption: Caption) -> str | None:
    if caption.state == "gap":
        return ""
    if caption.text is not None:
        return caption.text.strip()
    return caption.ocr_text.strip() if caption.ocr_text is not None else None


def _marks(caption: Caption) -> tuple[str, ...]:
    state = caption.state if caption.state == "issue" else None
    return tuple(mark for mark in (state, caption.text_status, caption.text_notes) if mark)


def captions_of_cues(cues: Iterable[TimedCue]) -> tuple[SideCaption, ...]:
    """Return captions as viewers see them, with growing ones folded if the cues are."""
    return tuple(
        SideCaption(
            cue.start,
            cue.end,
            cue.caption.best_text.strip(),
            cue.caption.id,
            cue.caption.zone,
            range(cue.caption.start_index, cue.caption.end_index),
            has_persons_text=cue.caption.text is not None,
            has_persons_times=cue.caption.state == "confirmed",
            marks=_marks(cue.caption),
        )
        for cue in cues
    )


def captions_of_file(cues: Iterable[FileCue], timeline: Timeline) -> tuple[SideCaption, ...]:
    """Return the captions of a subtitle file. ``timeline`` is the video's: it gives their frames."""
    return tuple(
        SideCaption(cue.start, cue.end, cue.text, number, cue.zone, _frames(cue.start, cue.end, timeline))
        for number, cue in enumerate(cues, 1)
    )


def _frames(start: int, end: int, timeline: Timeline) -> range:
    first = round(timeline.axis_seconds(start / 1000) * INDEX_RATE)
    return range(first, max(first + 1, round(timeline.axis_seconds(end / 1000) * INDEX_RATE)))


def layout_of(layout: LayoutFile, approved: CropRegion | None) -> SideLayout:
    """Return a layout with the crop region that is in force: the approved one, or the layout's own."""
    return SideLayout(approved or layout.crop_region, approved is not None, layout.boxes)
