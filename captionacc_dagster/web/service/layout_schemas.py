"""Requests and answers of the layout's routes. Boxes and regions are fractions of the upright frame."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from captionacc_dagster.operations.layout_review import FullFrames
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.web.service.models import Region, Zone
from modal_gpu.databases.checked import MAX_FRAMES
from modal_gpu.databases.layout import Label, LayoutBox

BoxLabel = Literal["in", "out"]


class BoxOut(BaseModel):
    """A text line. ``label`` is a person's; ``predicted`` the analysis's."""

    box_index: int
    left: float
    top: float
    right: float
    bottom: float
    text: str
    label: BoxLabel | None
    predicted: BoxLabel | None

    @classmethod
    def of(cls, box: LayoutBox) -> Self:
        """Return a text line's answer."""
        return cls(
            box_index=box.box_index,
            left=box.box.left,
            top=box.box.top,
            right=box.box.right,
            bottom=box.box.bottom,
            text=box.text,
            label=None if box.label == "clear" else box.label,
            predicted=box.predicted_label,
        )


class FrameOut(BaseModel):
    """A full frame with its text lines; none before it was read."""

    index: int
    seconds: float
    boxes: list[BoxOut]


class LayoutOut(BaseModel):
    """The places of captions: approved, or as the analysis proposes.

    ``partial``: a run works on it, or has not begun. ``error``: why the last attempt failed.
    """

    video_id: str
    name: str
    partial: bool
    error: str | None
    width: int | None = Field(description="of the analysed frames, in pixels")
    height: int | None = Field(description="likewise")
    crop_region: Region | None
    zones: list[Zone] = Field(description="zones beside the crop region")
    proposed_crop_region: Region | None
    proposed_zones: list[Zone]
    kept_zones: list[int] = Field(description="zones that stored captions are in; their indices stay taken")
    approved: bool
    approved_by: str | None
    confidence: float | None = Field(description="of the analysis, 0 to 1")
    reason: str = Field(description="what the analysis found, in a sentence")
    frames: list[FrameOut]

    @classmethod
    def of(cls, video: VideoRow, found: FullFrames, kept: set[int]) -> Self:
        """Return a layout's answer."""
        layout = found.layout
        boxes: dict[int, list[BoxOut]] = {}
        for box in layout.boxes if layout else ():
            boxes.setdefault(box.frame_index, []).append(BoxOut.of(box))
        proposed = layout.crop_region if layout else None
        further = layout.caption_zones if layout else ()
        approved = video.crop_region is not None
        zones = video.caption_zones if approved else further
        failure = video.layout.error_details
        return cls(
            video_id=video.video_id,
            name=video.display_path,
            partial=video.layout.run_id is not None or layout is None,
            error=failure["message"] if failure else None,
            width=layout.frame_width if layout else video.width,
            height=layout.frame_height if layout else video.height,
            crop_region=Region.of(video.crop_region if approved else proposed),
            zones=[Zone.of_zone(zone) for zone in zones],
            proposed_crop_region=Region.of(proposed),
            proposed_zones=[Zone.of_zone(zone) for zone in further],
            kept_zones=sorted(kept),
            approved=approved,
            approved_by=video.layout_approved_by,
            confidence=layout.confidence if layout else None,
            reason=layout.reason if layout else "",
            frames=[
                FrameOut(
                    index=index,
                    seconds=video.timeline.start(index / 10, index),
                    boxes=boxes.get(index, []),
                )
                for index in found.indices
            ],
        )


class LabelIn(BaseModel):
    """A label of a text line; ``clear`` takes it back."""

    model_config = ConfigDict(extra="forbid")

    frame_index: Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
    box_index: Annotated[int, Field(ge=0, lt=100_000)]
    label: Label


class LabelsIn(BaseModel):
    """Labels of text lines. With ``analyse``, the proposed place of the captions follows from all labels."""

    model_config = ConfigDict(extra="forbid")

    labels: list[LabelIn] = Field(max_length=20_000)
    analyse: bool = False
