"""What callers and compute functions say to each other.

Only plain JSON-able data crosses the wire (:func:`to_wire`, :func:`from_wire`), so that the two
sides may be at different versions; an unknown field or a value out of range is a
:class:`ContractError` that names it.
"""

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from modal_gpu.errors import ContractError, InvalidCropRegionError, InvalidKeyError
from modal_gpu.frame_index import SEGMENT_ALIGNMENT
from modal_gpu.keys import check_tenant_key

_CONFIG = ConfigDict(extra="forbid")

T = TypeVar("T")
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # JSON has no infinity
Probability = Annotated[float, Field(ge=0, le=1)]

#: Smallest crop in pixels, a side.
MIN_CROP_PIXELS = 16
#: Smallest crop region, a side, in fractions of the frame, as in the catalogue's ``is_crop_region``. No
#: caption is readable in less, and sizes in line heights lose their meaning in a sliver.
MIN_CROP_FRACTION = 0.01
#: Fractions are binary: 0.29 − 0.28 is a bit less than 0.01.
_LEAST = MIN_CROP_FRACTION - 1e-9


@dataclass(frozen=True, config=_CONFIG)
class CropRegion:
    """The caption strip as fractions of the upright frame, origin top left, y down.

    Raises :class:`InvalidCropRegionError` unless ``0 <= left < right <= 1`` and
    ``0 <= top < bottom <= 1``, and both sides are at least :data:`MIN_CROP_FRACTION`.
    """

    crop_left: float
    crop_top: float
    crop_right: float
    crop_bottom: float

    def __post_init__(self) -> None:
        sides = (self.crop_left, self.crop_top, self.crop_right, self.crop_bottom)
        horizontal = 0 <= self.crop_left < self.crop_right <= 1
        vertical = 0 <= self.crop_top < self.crop_bottom <= 1
        if not (all(map(math.isfinite, sides)) and horizontal and vertical):
            raise InvalidCropRegionError(
                f"crop region left={self.crop_left} top={self.crop_top} right={self.crop_right} "
                f"bottom={self.crop_bottom} is not inside [0, 1] with left < right and top < bottom"
            )
        if min(self.crop_right - self.crop_left, self.crop_bottom - self.crop_top) < _LEAST:
            raise InvalidCropRegionError(
                f"crop region left={self.crop_left} top={self.crop_top} right={self.crop_right} "
                f"bottom={self.crop_bottom} is too thin: at least {MIN_CROP_FRACTION} of the frame a side"
            )

    @classmethod
    def around(cls, left: float, top: float, right: float, bottom: float) -> "CropRegion":
        """The part inside the frame of a rectangle that may be too thin or reach beyond the frame."""
        (left, right), (top, bottom) = _wide_enough(left, right), _wide_enough(top, bottom)
        return cls(left, top, right, bottom)

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """``(left, top, right, bottom)`` in pixels of a ``width`` × ``height`` frame, half-open.

        Rounded outwards to even numbers (4:2:0 chroma), at least 16 × 16, and inside the frame
        as far as it has even sides that large.
        """
        left, right = _even_span(self.crop_left, self.crop_right, width)
        top, bottom = _even_span(self.crop_top, self.crop_bottom, height)
        return left, top, right, bottom


def _wide_enough(start: float, end: float) -> tuple[float, float]:
    start, end = max(0.0, start), min(1.0, end)
    if end - start >= MIN_CROP_FRACTION:
        return start, end
    start = min(max(0.0, (start + end - MIN_CROP_FRACTION) / 2), 1 - MIN_CROP_FRACTION)
    return start, start + MIN_CROP_FRACTION


def _even_span(start: float, end: float, size: int) -> tuple[int, int]:
    # 1e-6: fractions that came from whole pixels must not grow by rounding noise.
    limit = size - size % 2
    low = min(math.floor(start * size / 2 + 1e-6) * 2, limit)
    high = min(math.ceil(end * size / 2 - 1e-6) * 2, limit)
    if high - low < MIN_CROP_PIXELS:
        low = max(0, min(low, limit - MIN_CROP_PIXELS))
        high = min(limit, low + MIN_CROP_PIXELS)
    return low, high


@dataclass(frozen=True, config=_CONFIG)
class FrameRange:
    """A part of a video that one call works on: frame indices, half-open ``[start, end)``.

    Both are multiples of 512, where every level of cropped frames starts a chunk. The last part of a
    video has no ``end``: it goes as far as there are frames.
    """

    start: Count
    end: Count | None = None

    def __post_init__(self) -> None:
        if self.start % SEGMENT_ALIGNMENT or (self.end or 0) % SEGMENT_ALIGNMENT:
            raise ContractError(f"frames [{self.start}, {self.end}) are not cut at multiples of 512")
        if self.end is not None and self.end <= self.start:
            raise ContractError(f"frames [{self.start}, {self.end}) are empty")

    def covers(self, frame_count: int) -> bool:
        """Whether this is all of a video of ``frame_count`` indices."""
        return self.start == 0 and (self.end is None or self.end >= frame_count)

    def of(self, frame_count: int) -> range:
        """The part's indices in a video of ``frame_count`` indices."""
        return range(self.start, max(self.start, min(frame_count, self.end or frame_count)))


ExtractOutput = Literal["full_frames", "raw_ocr_db", "layout_db"]
CropInferOutput = Literal["cropped_chunks", "caption_frame_extents_db"]


@dataclass(frozen=True, config=_CONFIG)
class ExtractRequest:
    """Take full frames of a video, read them, find the caption layout.

    ``outputs`` names what is published; the work that only others need is left out. With a ``segment``
    that is not the whole video only its frames are taken and read, and what was read is stored as a part
    (``raw-ocr.parts/``) instead of the databases.
    """

    tenant_id: str
    video_id: str
    video_key: str
    outputs: frozenset[ExtractOutput] = frozenset({"full_frames", "raw_ocr_db", "layout_db"})
    segment: FrameRange | None = None

    def __post_init__(self) -> None:
        _check_video_key(self)


@dataclass(frozen=True, config=_CONFIG)
class ExtractResult:
    """What :class:`ExtractRequest` gave. Sizes in pixels, ``bitrate`` in bit/s, 0 when unknown.

    Of a segment, ``full_frame_count`` and the OCR's counts are those of the segment.
    """

    frame_count: Count
    duration: Seconds
    frame_width: Count
    frame_height: Count
    video_codec: str
    bitrate: Count
    ocr_box_count: Count
    failed_ocr_count: Count
    processing_duration_seconds: Seconds
    full_frames_key: str
    ocr_db_key: str
    layout_db_key: str
    #: Full frames taken (``frame_count`` counts the 10 Hz indices of the whole video).
    full_frame_count: Count = 0
    #: What could not be decoded, in words; empty for a healthy file.
    damage: str = ""
    #: Rows of the video's :class:`~modal_gpu.timeline.Timeline`.
    time_spans: list[tuple[Count, float, bool]] = field(default_factory=list)
    #: Seconds spent a stage, for the run's metadata and the benchmarks.
    stage_seconds: dict[str, Seconds] = field(default_factory=dict)


@dataclass(frozen=True, config=_CONFIG)
class CropInferRequest:
    """Crop a video at 10 Hz into chunks of version ``version`` and label neighbouring frames.

    With a ``segment`` that is not the whole video only its chunks are made, and its labels are stored
    as a part (``caption_frame_extents_v{N}.parts/``) instead of the database.
    """

    tenant_id: str
    video_id: str
    video_key: str
    crop_region: CropRegion
    version: Annotated[int, Field(ge=1)]
    run_id: str
    outputs: frozenset[CropInferOutput] = frozenset({"cropped_chunks", "caption_frame_extents_db"})
    #: Number of 10 Hz indices as far as it is known, by which the work is divided; 0: unknown.
    frame_count: Count = 0
    segment: FrameRange | None = None

    def __post_init__(self) -> None:
        _check_video_key(self)


@dataclass(frozen=True, config=_CONFIG)
class CropInferResult:
    """What :class:`CropInferRequest` gave. ``label_counts`` counts forward labels of pairs.

    Of a segment, all counts are those of the segment, and ``caption_frame_extents_db_key`` names its part.
    """

    version: Annotated[int, Field(ge=1)]
    frame_count: Count
    label_counts: dict[str, Count]
    processing_duration_seconds: Seconds
    caption_frame_extents_db_key: str
    cropped_frames_prefix: str
    chunk_count: Count = 0
    total_size_bytes: Count = 0
    model_version: str = ""
    damage: str = ""
    #: Of the whole video, as in :class:`ExtractResult`; a duration of 0: from a container that did not tell.
    duration: Seconds = 0.0
    time_spans: list[tuple[Count, float, bool]] = field(default_factory=list)
    stage_seconds: dict[str, Seconds] = field(default_factory=dict)


@dataclass(frozen=True, config=_CONFIG)
class CaptionRange:
    """A caption's frames, half-open ``[start_index, end_index)``."""

    caption_id: int
    start_index: Count
    end_index: Count

    def __post_init__(self) -> None:
        if self.end_index <= self.start_index:
            raise ContractError(
                f"caption {self.caption_id}: frames [{self.start_index}, {self.end_index}) are empty"
            )


@dataclass(frozen=True, config=_CONFIG)
class CaptionOcrRequest:
    """Read captions from the chunks of one cropped-frames version."""

    tenant_id: str
    video_id: str
    version: Annotated[int, Field(ge=1)]
    #: The one that the version's frames were cropped to.
    crop_region: CropRegion
    #: Number of 10 Hz indices that the chunks hold.
    frame_count: Count
    captions: list[CaptionRange]


@dataclass(frozen=True, config=_CONFIG)
class CaptionOcrResult:
    """One caption's text, lines joined by a line feed; ``error`` is set when it could not be read."""

    ocr_text: str
    confidence: Probability
    frame_count: Count
    caption_id: int = 0
    error: str = ""


def _check_video_key(request: "ExtractRequest | CropInferRequest") -> None:
    """Refuse a video that is not in the tenant's own prefix; :class:`ContractError`."""
    try:
        check_tenant_key(request.video_key, request.tenant_id.lower())
    except InvalidKeyError as error:
        # Pydantic would wrap the original, which is a ValueError.
        raise ContractError(str(error)) from None


class Progress(Protocol):
    """Hears how far a function is. ``done`` and ``total`` count the stage's own units."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def no_progress(stage: str, done: int, total: int) -> None:
    """A listener that does not care."""


def to_wire(value: Any) -> dict[str, Any]:
    """A contract dataclass as JSON-able data."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def from_wire(kind: type[T], data: Mapping[str, Any]) -> T:
    """Checked contract dataclass from JSON-able data; :class:`ContractError` names what is wrong."""
    try:
        return TypeAdapter(kind).validate_python(dict(data) if isinstance(data, Mapping) else data)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or kind.__name__}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ContractError(f"{kind.__name__} from the other side is not usable: {problems}") from None
