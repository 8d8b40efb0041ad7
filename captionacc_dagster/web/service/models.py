"""The answers of the API about videos and jobs, and the requests that several routes share."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from captionacc_dagster.resources.catalog import (
    JobRow,
    JobState,
    JobType,
    Stage,
    VideoRow,
)
from captionacc_dagster.resources.catalog.rows.videos import StageState
from modal_gpu.contracts import MAX_ZONES, CaptionZone, CropRegion, LanguageTag


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text has no NUL character")
    return text


#: Text that PostgreSQL can store.
Text = Annotated[str, AfterValidator(_without_nul)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_without_nul)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Request(BaseModel):
    """Base of requests: a field that nobody knows is an error, not silence."""

    model_config = ConfigDict(extra="forbid")


class StageAnswer(BaseModel):
    """One stage. ``run_id`` is present while a run works on it, ``error`` in status ``error``."""

    status: Literal["wait", "annotate", "done", "error"] = Field(
        description="wait: for a run; annotate: ready for a person; done: reviewed"
    )
    run_id: str | None
    error: str | None
    finished_at: datetime | None = Field(description="when the last run ended")
    note: str = Field(description="what a person should know, or an empty string")

    @classmethod
    def of(cls, state: StageState) -> Self:
        """Return the answer for a stage of a row."""
        error = state.error_details["message"] if state.error_details else None
        return cls(
            status=state.status,
            run_id=state.run_id,
            error=error,
            finished_at=state.finished_at,
            note=state.note,
        )


class Region(Request):
    """A crop region in fractions of the upright frame, at least 0.01 wide and high."""

    crop_left: Fraction
    crop_top: Fraction
    crop_right: Fraction
    crop_bottom: Fraction

    def crop_region(self) -> CropRegion:
        """Return the contract's type. Raises ``InvalidCropRegionError``."""
        return CropRegion(self.crop_left, self.crop_top, self.crop_right, self.crop_bottom)

    @classmethod
    def of(cls, region: CropRegion | None) -> Self | None:
        """Return the answer for a region of a row."""
        return None if region is None else cls(**vars(region))


class Zone(Request):
    """A further place of captions, beside the crop region, which is zone 0."""

    zone_index: Annotated[int, Field(ge=1, lt=MAX_ZONES)]
    crop_region: Region
    language: LanguageTag | None = None

    def caption_zone(self) -> CaptionZone:
        """Return the contract's type. Raises ``InvalidCropRegionError``."""
        return CaptionZone(self.zone_index, self.crop_region.crop_region(), self.language)

    @classmethod
    def of_zone(cls, zone: CaptionZone) -> Self:
        """Return the answer for a zone of a row."""
        region = Region(**vars(zone.crop_region))
        return cls(zone_index=zone.zone_index, crop_region=region, language=zone.language)


class VideoAnswer(BaseModel):
    """A video. Facts of the file are ``null`` before its layout was made."""

    video_id: str
    tenant_id: str
    name: str
    size_bytes: int
    created_at: datetime
    uploaded_at: datetime | None = Field(description="null until the upload is confirmed")
    duration_seconds: float | None
    frame_count: int | None = Field(description="number of frame indices, 10 a second")
    width: int | None = Field(description="in pixels")
    height: int | None = Field(description="in pixels")
    damage: str = Field(description="parts of the file that could not be decoded, or an empty string")
    languages: list[str] = Field(description="of the captions, as BCP-47 tags; empty: the tenant's")
    layout: StageAnswer
    boundaries: StageAnswer
    text: StageAnswer
    layout_confidence: float | None = Field(description="0 to 1")
    proposed_crop_region: Region | None = Field(description="as the analysis found it")
    proposed_caption_zones: list[Zone]
    crop_region: Region | None = Field(description="as it was approved; null before")
    caption_zones: list[Zone] = Field(description="approved zones beside the crop region")
    crop_region_version: int = Field(description="how often the approved region and zones have changed")
    cropped_frames_version: int | None = Field(description="version of the frames in use")
    caption_count: int | None = Field(description="captions that were found")
    text_caption_count: int | None = Field(description="captions that have text")

    @classmethod
    def of(cls, row: VideoRow) -> Self:
        """Return the answer for a row."""
        stages: dict[Stage, StageAnswer] = {
            stage: StageAnswer.of(row.stage(stage)) for stage in ("layout", "boundaries", "text")
        }
        same = (
            *("video_id", "tenant_id", "size_bytes", "created_at", "uploaded_at", "duration_seconds"),
            *("frame_count", "width", "height", "damage", "layout_confidence", "crop_region_version"),
            *("caption_count", "text_caption_count"),
        )
        return cls(
            name=row.display_path,
            languages=row.ocr_languages,
            proposed_crop_region=Region.of(row.proposed_crop_region),
            proposed_caption_zones=[Zone.of_zone(zone) for zone in row.proposed_caption_zones],
            crop_region=Region.of(row.crop_region),
            caption_zones=[Zone.of_zone(zone) for zone in row.caption_zones],
            cropped_frames_version=row.current_cropped_frames_version,
            **stages,
            **{name: getattr(row, name) for name in same},
        )


class QueuedAnswer(BaseModel):
    """Work that was asked for. ``run_id`` is ``null`` if a sensor starts the run, some seconds later."""

    run_id: str | None
    status: Literal["queued"] = "queued"
    priority: int = Field(description="the run's, 0 to 100; 0 while there is no run")


class JobAnswer(BaseModel):
    """A job. ``progress`` is in percent."""

    job_id: str
    video_id: str
    type: JobType
    state: JobState
    progress: Annotated[int, Field(ge=0, le=100)]
    message: str = Field(description="what the job does now, or why it failed")
    parameters: dict[str, Any]
    result: dict[str, Any] | None = Field(description="of an export: format, route, number of captions")
    priority: int | None = Field(description="that an operator chose; null: none")
    run_id: str | None = Field(description="Dagster's run that works on it, or worked on it last")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, row: JobRow) -> Self:
        """Return the answer for a row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})
