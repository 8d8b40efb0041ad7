"""Requests and answers of the captions' routes. Times are a player's, in seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from captionacc_dagster.operations.caption_review import MOST_EDITS, Comparison, Outcome, Target
from modal_gpu.captions.edits import Wanted
from modal_gpu.captions.reviewing import Doubt, ReviewCue, Standing
from modal_gpu.captions.text_parts import ReadText
from modal_gpu.contracts import MAX_ZONES
from modal_gpu.media.probe import MAX_DURATION_SECONDS

_Seconds = Annotated[float, Field(ge=0, le=MAX_DURATION_SECONDS, allow_inf_nan=False)]
#: SQLite's ids.
CaptionId = Annotated[int, Field(ge=1, le=2**63 - 1)]
_Version = Annotated[
    str, Field(pattern=r"^[0-9a-f]{16}$", description="the version that the caption had when it was read")
]
_Text = Annotated[str, Field(max_length=4000)]
_Zone = Annotated[int, Field(ge=0, lt=MAX_ZONES)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CaptionOut(BaseModel):
    """A caption as a reviewer sees it. Indices are half-open, at 10 a second."""

    id: int = Field(description="negative: of a run that has not ended, and not editable yet")
    version: str = Field(description="digest of times, text, zone and standing; edits name it")
    start_seconds: float
    end_seconds: float
    start_index: int
    end_index: int
    text: str = Field(description="a person's, else that of OCR")
    ocr_text: str | None
    source: Literal["ocr", "person"] = Field(description="of the text")
    ocr_confidence: float | None = Field(description="0 to 1")
    extents_confidence: float | None = Field(description="of start and end, 0 to 1")
    standing: Standing = Field(description="shown in subtitles, not read yet, or removed")
    reviewed: bool
    doubts: list[Doubt] = Field(description="reasons to look at it; none once it is reviewed")
    certainty: float = Field(description="lowest of its confidences; 1 once it is reviewed")
    zone: int
    rolls: bool = Field(description="a line of text that rolls up: it may overlap its neighbours")
    notes: str | None
    partial: bool = Field(False, description="it, or its text, is of a run that has not ended")

    @classmethod
    def of(cls, cue: ReviewCue, read: ReadText | None = None) -> Self:
        """Return a caption's answer; ``read``: the text of one that is not read yet, of a running call."""
        caption = cue.caption
        if read is not None:
            caption = replace(caption, ocr_text=read.text, ocr_confidence=read.confidence)
        return cls(
            id=cue.id,
            version=cue.version,
            start_seconds=cue.timed.start / 1000,
            end_seconds=cue.timed.end / 1000,
            start_index=caption.start_index,
            end_index=caption.end_index,
            text=caption.best_text,
            ocr_text=caption.ocr_text,
            source="ocr" if caption.text is None else "person",
            ocr_confidence=caption.ocr_confidence,
            extents_confidence=caption.confidence,
            standing=cue.standing,
            reviewed=cue.is_reviewed,
            doubts=list(cue.doubts),
            certainty=round(cue.certainty, 4),
            zone=caption.zone,
            rolls=cue.timed.cue.roll > 0,
            notes=caption.text_notes,
            partial=read is not None or cue.id < 0,
        )


class FootageOut(BaseModel):
    """The pictures under the captions. ``cropped_frames_version`` is ``null`` before there are any."""

    cropped_frames_version: int | None
    frame_count: int = Field(description="number of frame indices, 10 a second")
    duration_seconds: float
    source_frame_seconds: float | None = Field(description="length of a frame of the video")
    zones: list[int]
    time_spans: list[tuple[int, float, bool]] = Field(
        description="first index, seconds to add, and whether the picture before is held"
    )


class CaptionsOut(BaseModel):
    """A video's captions. ``partial``: a run still works on them, and what is ready is shown.

    ``finished``: a person has completed the review of times and texts.
    """

    video_id: str
    name: str
    partial: bool
    editable: bool = Field(description="false before the first captions are stored")
    finished: bool
    working: list[str] = Field(description="stages that a run works on")
    locked_by: str | None = Field(description="the run or person that writes the captions now; edits wait")
    footage: FootageOut
    count: int = Field(description="captions that subtitles show")
    to_review: int = Field(description="captions that no person has reviewed")
    captions: list[CaptionOut]


class Named(_In):
    """A caption as it was read."""

    id: CaptionId
    version: _Version

    @property
    def target(self) -> Target:
        """The name of the caption in an edit."""
        return Target(self.id, self.version)


class CaptionPut(_In):
    """Text, times or zone of a caption; what is left out stays. ``reviewed`` false takes a review back."""

    version: _Version
    text: _Text | None = None
    start_seconds: _Seconds | None = None
    end_seconds: _Seconds | None = None
    zone: _Zone | None = None
    reviewed: bool = True


class CaptionVersion(_In):
    """The version that a caption had when it was read."""

    version: _Version


class CaptionSplit(CaptionVersion):
    """The time at which a caption is divided. Without texts, its own is divided near that time."""

    at_seconds: _Seconds
    texts: tuple[_Text, _Text] | None = None


class CaptionRestore(CaptionVersion):
    """A removed caption's text; without one, what OCR read."""

    text: _Text | None = None


class CaptionMerge(_In):
    """Captions that follow each other, and their common text; without one, a line each."""

    captions: list[Named] = Field(min_length=2, max_length=20)
    text: _Text | None = None


class CaptionWanted(_In):
    """A caption as a person wants it."""

    start_seconds: _Seconds
    end_seconds: _Seconds
    text: _Text
    zone: _Zone | None = None
    reviewed: bool = True

    @property
    def wanted(self) -> Wanted:
        """The same in milliseconds."""
        return Wanted(
            milliseconds(self.start_seconds),
            milliseconds(self.end_seconds),
            self.text,
            self.zone,
            self.reviewed,
        )


class ChangedCaption(CaptionOut):
    """A caption after an edit. ``was``: its version before, by which others' changes are noticed."""

    was: str | None


class EditIn(_In):
    """Captions as they were read, and what replaces them. No ``wanted`` removes, no ``captions`` adds."""

    key: str = Field(
        min_length=1, max_length=64, description="the caller's name of the edit, unique in a request"
    )
    captions: list[Named] = Field(max_length=20)
    wanted: list[CaptionWanted] = Field(max_length=20)


class EditsIn(_In):
    """Edits that are made under one lease, in their order."""

    edits: list[EditIn] = Field(min_length=1, max_length=MOST_EDITS)


class EditOut(BaseModel):
    """The result of an edit. ``current``: the named captions as they are, after a conflict."""

    key: str
    status: Literal["done", "conflict", "refused"]
    made: list[int]
    message: str
    current: dict[int, CaptionOut | None]

    @classmethod
    def of(cls, key: str, outcome: Outcome) -> Self:
        """Return an outcome's answer."""
        return cls(
            key=key,
            status=outcome.status,
            made=list(outcome.made),
            message=outcome.message,
            current=current_of(outcome.current),
        )


class ChangedOut(BaseModel):
    """All captions that an edit changed, its neighbours included, and the ids of those that are gone."""

    changed: list[ChangedCaption]
    gone: list[int]
    count: int = Field(description="captions that subtitles show")
    to_review: int = Field(description="captions that no person has reviewed")

    @classmethod
    def of(cls, compared: Comparison, **more: object) -> Self:
        """Return the answer to an edit; ``more``: the fields of a subclass."""
        changed = [
            ChangedCaption(**CaptionOut.of(cue).model_dump(), was=compared.versions.get(cue.id))
            for cue in compared.changed
        ]
        return cls.model_validate(
            {"changed": changed, "gone": compared.gone, **counts_of(compared.after), **more}
        )


class EditsOut(ChangedOut):
    """The outcome of each edit, and what changed."""

    edits: list[EditOut]


class ImportedOut(ChangedOut):
    """The changes of an import, by kind. ``written`` is false for a dry run, and if nothing changed."""

    counts: dict[str, int]
    written: bool
    formatting_dropped: int = Field(description="captions whose formatting cannot be kept")


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds."""
    return round(seconds * 1000)


def current_of(current: Mapping[int, ReviewCue | None]) -> dict[int, CaptionOut | None]:
    """Return the answers of captions that an edit was not made on."""
    return {number: None if cue is None else CaptionOut.of(cue) for number, cue in current.items()}


def counts_of(cues: Sequence[ReviewCue]) -> dict[str, int]:
    """Return how many captions are shown, and how many a person has not reviewed."""
    return {
        "count": sum(cue.standing == "shown" for cue in cues),
        "to_review": sum(not cue.is_reviewed for cue in cues),
    }


def captions_of(cues: Sequence[ReviewCue], read: Mapping[tuple[int, int, int], ReadText]) -> list[CaptionOut]:
    """Return the answers of captions; ``read`` has texts of a running call, by zone, first frame and end."""
    return [CaptionOut.of(cue, _read_now(cue, read)) for cue in cues]


def _read_now(cue: ReviewCue, read: Mapping[tuple[int, int, int], ReadText]) -> ReadText | None:
    caption = cue.caption
    if not read or cue.standing != "unread":
        return None
    return read.get((caption.zone, caption.start_index, caption.end_index))
