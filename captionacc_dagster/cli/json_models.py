"""The shapes of ``--json``: videos and captions.

The tables of docs/reference/commands.md are made from these models. Fields are only ever added. A field is
always present; ``null`` says that its value is not known or does not apply. Times are ISO 8601 in UTC, and
ids are complete. ``python -m captionacc_dagster.cli.json_tables`` prints the tables.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Output(BaseModel):
    """Base of the models."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def field(description: str) -> Any:
    """Declare a field with what the documentation says of it."""
    return Field(description=description)


Id = Annotated[str, Field(description="the video's id")]
Name = Annotated[str, Field(description="the name that people see")]


class Pixels(Output):
    """A rectangle in pixels of the picture that players show, half-open."""

    left: int = field("first column")
    top: int = field("first row")
    right: int = field("column after the last one")
    bottom: int = field("row after the last one")


class Region(Output):
    """A rectangle as fractions of the upright frame, from its top left corner."""

    left: float = field("fraction of the width")
    top: float = field("fraction of the height")
    right: float = field("fraction of the width")
    bottom: float = field("fraction of the height")
    pixels: Pixels | None = field("the same in pixels; `null` while the size is not known")


class Layout(Output):
    """The finding of the layout analysis."""

    found: bool = field("whether there is a caption band")
    confidence: float = field("0 to 1")
    reason: str = field("one sentence")


class Extracted(Output):
    """A video of `extract`. The last five are `null` unless `done`."""

    video: str = field("the path, or the pattern or folder that named no video")
    status: Literal["done", "kept", "unapproved", "failed"] = field(
        "`kept`: subtitles exist; `unapproved`: it needs `--crop-region`"
    )
    note: str = field("the reason, damage in the file, or an empty string")
    files: list[str] = field("the subtitles written, or kept")
    captions: int | None = field("number of captions")
    duration_seconds: float | None = field("length of the video")
    seconds: float | None = field("time that it took")
    zones: list[Region] | None = field("the places of captions, the main one first")
    layout: Layout | None = field("what the analysis found")


class ExtractedVideos(Output):
    """The result of `extract`."""

    videos: list[Extracted] = field("in the order of the work")


class StageError(Output):
    """The error that a stage ended with."""

    message: str = field("one sentence")
    type: str | None = field("class of the error")
    run_id: str | None = field("Dagster's run")
    failed_at: datetime | None = field("when")


class Stage(Output):
    """A stage of a video."""

    status: Literal["wait", "annotate", "done", "error"] = field(
        "`annotate`: ready for people; `done`: people have finished it"
    )
    working: bool = field("whether a run works on it now")
    run_id: str | None = field("the last run that began it")
    started_at: datetime | None = field("when that run began")
    finished_at: datetime | None = field("when the last run ended")
    error: StageError | None = field("present in status `error`")
    note: str = field("what a person should know, or an empty string")


class Stages(Output):
    """The stages of a video, in their order."""

    layout: Stage = field("finds the place of captions")
    boundaries: Stage = field("finds when captions begin and end")
    text: Stage = field("reads captions")


class Zone(Output):
    """A caption zone. Zone 0 is the crop region."""

    zone: int = field("its number")
    region: Region = field("its place")
    language: str | None = field("of its captions; `null`: the video's")


State = Literal["working", "ready", "approval", "language", "error", "deleted"]


class Video(Output):
    """A video of the platform."""

    video_id: Id
    name: Name
    partition_key: str = field("in Dagster")
    tenant_id: str = field("its owner")
    state: State = field("`approval` and `language` wait for a person")
    remark: str = field("what a person should know or do, or an empty string")
    stages: Stages = field("state of each stage")
    captions: int | None = field("number of captions")
    duration_seconds: float | None = field("length")
    width: int | None = field("in pixels")
    height: int | None = field("in pixels")
    video_codec: str | None = field("such as `h264`")
    size_bytes: int = field("of the upload")
    languages: list[str] = field("of its captions; empty: its tenant's")
    zones: list[Zone] = field("approved caption zones, zone 0 first; empty before the approval")
    approved_by: str | None = field("who approved the layout; `auto`: the policy")
    approved_at: datetime | None = field("when")
    layout_version: int = field("how often the approved zones have changed")
    damage: str = field("damage in the file, or an empty string")
    created_at: datetime = field("when it was registered")
    deleted_at: datetime | None = field("when it was deleted")


class Videos(Output):
    """Videos, newest first."""

    videos: list[Video] = field("at most `--limit`")
    more: bool = field("whether there are older ones")


class Refused(Output):
    """A name that is not a video, or could not be uploaded."""

    file: str = field("as given")
    reason: str = field("one sentence")


class Ingested(Output):
    """The result of `ingest`."""

    videos: list[Video] = field("in the order of the files, each once")
    known: list[str] = field("files whose content was uploaded before")
    refused: list[Refused] = field("files without a video")


class Retried(Output):
    """The result of `retry`."""

    video_id: Id
    name: Name
    stages: list[Literal["layout", "boundaries", "text"]] = field("that wait again; empty: none had failed")


class LayoutZone(Zone):
    """A caption zone of a layout."""

    confidence: float | None = field("0 to 1; `null` for a zone that a person made")


class VideoLayout(Output):
    """The layout of a video."""

    video_id: Id
    name: Name
    width: int = field("of the picture that was analysed, in pixels")
    height: int = field("likewise")
    zones: list[LayoutZone] = field("approved, or else found; zone 0 first")
    anchor_type: str | None = field("`left`, `center` or `right`: how lines are aligned")
    anchor_position: float | None = field("fraction of the width")
    confidence: float | None = field("of the analysis, 0 to 1")
    caption_lines: int = field("lines of text in captions that OCR read in the full frames")
    other_lines: int = field("lines of text elsewhere")
    approved_by: str | None = field("who approved it; `null`: nobody yet")
    approved_at: datetime | None = field("when")
    version: int = field("how often the approved zones have changed")


class Caption(Output):
    """A caption as viewers see it."""

    id: int = field("its id")
    start_index: int = field("first frame, ten a second")
    end_index: int = field("frame after the last one")
    start_seconds: float = field("as players count")
    end_seconds: float = field("as players count")
    text: str = field("its text")
    source: Literal["ocr", "person"] = field("of the text")
    ocr_confidence: float | None = field("0 to 1")
    extents_confidence: float | None = field("how sure its ends are, 0 to 1")
    state: Literal["predicted", "confirmed", "gap", "issue"] = field("of its ends")
    zone: int = field("its caption zone")
    state_ids: list[int] = field("the rows of `captions.db` behind it: several if it grew")


class CaptionAfter(Output):
    """A caption after an edit."""

    start_seconds: float = field("as players count")
    end_seconds: float = field("as players count")
    text: str = field("its text")


class CaptionBefore(CaptionAfter):
    """A caption before an edit."""

    id: int = field("its id")


class Change(Output):
    """A change of captions."""

    kinds: list[str] = field("such as `text changed`, `split`, `removed`")
    before: list[CaptionBefore] = field("empty for a new caption")
    after: list[CaptionAfter] = field("empty for a removed caption")


class Edit(Output):
    """The changes of an edit."""

    video_id: Id
    name: Name
    dry_run: bool = field("whether `--dry-run` was given")
    written: bool = field("whether something was written")
    counts: dict[str, int] = field("number of changes of each kind")
    changes: list[Change] = field("all of them")


class Import(Edit):
    """The changes of an import."""

    kept: int = field("captions that are as the file has them")
    formatting_dropped: int = field("captions of the file whose formatting cannot be kept")
