"""The requests and results of the compute functions.

Only plain JSON-able data crosses the wire (:func:`to_wire`, :func:`from_wire`), so that the two sides may
have different versions. An unknown field or a value out of range raises a :class:`ContractError` with its
name.
"""

import math
from collections.abc import Mapping
from dataclasses import field
from itertools import pairwise
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

#: Smallest side of a crop in pixels.
MIN_CROP_PIXELS = 16
#: Smallest side of a crop region in fractions of the frame, as in the catalogue's ``is_crop_region``. Below
#: it captions are not readable and sizes in line heights are meaningless.
MIN_CROP_FRACTION = 0.01
#: The same with a tolerance for binary fractions: 0.29 − 0.28 is slightly less than 0.01.
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
        """Clip a rectangle to the frame and widen it to the smallest size."""
        (left, right), (top, bottom) = _wide_enough(left, right), _wide_enough(top, bottom)
        return cls(left, top, right, bottom)

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return ``(left, top, right, bottom)`` in pixels of a ``width`` × ``height`` frame, half-open.

        Rounded outwards to even numbers (4:2:0 chroma), at least 16 × 16 if the frame has this size, and
        inside the frame.
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
    # 1e-6: rounding noise must not enlarge fractions that were computed from whole pixels.
    limit = size - size % 2
    low = min(math.floor(start * size / 2 + 1e-6) * 2, limit)
    high = min(math.ceil(end * size / 2 - 1e-6) * 2, limit)
    if high - low < MIN_CROP_PIXELS:
        low = max(0, min(low, limit - MIN_CROP_PIXELS))
        high = min(limit, low + MIN_CROP_PIXELS)
    return low, high


#: Most caption zones of a video, zone 0 included.
MAX_ZONES = 8
ZoneIndex = Annotated[int, Field(ge=0, lt=MAX_ZONES)]
#: A language as BCP 47 writes it, such as ``ko`` or ``pt-BR``.
LanguageTag = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$", max_length=35)]


@dataclass(frozen=True, config=_CONFIG)
class CaptionZone:
    """A further place of captions, beside the video's own crop region, which is zone 0.

    An index stays with its place: it is not used again for another one while captions carry it.
    ``language`` is ``None`` if it is the video's.
    """

    zone_index: Annotated[int, Field(ge=1, lt=MAX_ZONES)]
    crop_region: CropRegion
    language: LanguageTag | None = None


Zones = tuple[CaptionZone, ...]


def check_zones(zones: Zones) -> Zones:
    """Return the zones in the order of their indices. Raises :class:`ContractError` for an index twice."""
    ordered = tuple(sorted(zones, key=lambda zone: zone.zone_index))
    for before, after in pairwise(ordered):
        if before.zone_index == after.zone_index:
            raise ContractError(f"two caption zones have the index {after.zone_index}")
    return ordered


def crop_regions(first: CropRegion, zones: Zones) -> dict[int, CropRegion]:
    """Return the crop region of each zone by its index; ``first`` is that of zone 0."""
    return {0: first} | {zone.zone_index: zone.crop_region for zone in zones}


@dataclass(frozen=True, config=_CONFIG)
class FrameRange:
    """A part of a video that one call processes: frame indices, half-open ``[start, end)``.

    Both are multiples of 512, where every level of cropped frames starts a chunk. The last part of a
    video has no ``end`` and contains all remaining frames. Raises :class:`ContractError` for other ranges.
    """

    start: Count
    end: Count | None = None

    def __post_init__(self) -> None:
        if self.start % SEGMENT_ALIGNMENT or (self.end or 0) % SEGMENT_ALIGNMENT:
            raise ContractError(f"frames [{self.start}, {self.end}) do not start and end at multiples of 512")
        if self.end is not None and self.end <= self.start:
            raise ContractError(f"frames [{self.start}, {self.end}) are empty")

    def covers(self, frame_count: int) -> bool:
        """Return whether this contains all of a video's ``frame_count`` indices."""
        return self.start == 0 and (self.end is None or self.end >= frame_count)

    def of(self, frame_count: int) -> range:
        """Return the part's indices in a video of ``frame_count`` indices."""
        return range(self.start, max(self.start, min(frame_count, self.end or frame_count)))

    def within(self, frame_count: int) -> "FrameRange":
        """Return this range, or :data:`WHOLE_VIDEO` if it contains all of a video's indices."""
        return WHOLE_VIDEO if self.covers(frame_count) else self


#: The range of a video that is not divided.
WHOLE_VIDEO = FrameRange(0)


ExtractOutput = Literal["full_frames", "raw_ocr_db", "layout_db"]
CropInferOutput = Literal["cropped_chunks", "caption_frame_extents_db"]


@dataclass(frozen=True, config=_CONFIG)
class ExtractRequest:
    """A request to extract a video's full frames, read them, and find the caption layout.

    ``outputs`` are published; work that only other outputs need is skipped. With a ``segment`` that is not
    the whole video only its frames are extracted and read, and their readings are stored as a part
    (``raw-ocr.parts/``) instead of the databases.
    """

    tenant_id: str
    video_id: str
    video_key: str
    outputs: frozenset[ExtractOutput] = frozenset({"full_frames", "raw_ocr_db", "layout_db"})
    segment: FrameRange | None = None
    #: Languages of the captions (BCP-47); the installation's without any.
    languages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check_video_key(self)


@dataclass(frozen=True, config=_CONFIG)
class ExtractResult:
    """The result of an :class:`ExtractRequest`. Sizes in pixels, ``bitrate`` in bit/s, 0 when unknown.

    For a segment, ``full_frame_count`` and OCR's counts are the segment's.
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
    #: Number of full frames (``frame_count`` is the number of 10 Hz indices of the whole video).
    full_frame_count: Count = 0
    #: Description of what could not be decoded; empty for an intact file.
    damage: str = ""
    #: Rows of the video's :class:`~modal_gpu.timeline.Timeline`.
    time_spans: list[tuple[Count, float, bool]] = field(default_factory=list)
    #: Seconds per stage, for the run's metadata and the benchmarks.
    stage_seconds: dict[str, Seconds] = field(default_factory=dict)
    #: Whether frames were read with a model for the captions' languages; the layout then trusts them.
    with_language: bool = False


@dataclass(frozen=True, config=_CONFIG)
class CropInferRequest:
    """A request to crop a video at 10 Hz into chunks of ``version`` and to label neighbouring frames.

    ``crop_region`` is zone 0's; ``zones`` are further ones, which the same pass over the video serves.

    With a ``segment`` that is not the whole video only its chunks are written, and its scores are stored as
    a part (``caption_frame_extents_v{N}.parts/``) instead of the database.
    """

    tenant_id: str
    video_id: str
    video_key: str
    crop_region: CropRegion
    version: Annotated[int, Field(ge=1)]
    run_id: str
    outputs: frozenset[CropInferOutput] = frozenset({"cropped_chunks", "caption_frame_extents_db"})
    #: Number of 10 Hz indices, by which the work is divided; 0 if unknown.
    frame_count: Count = 0
    segment: FrameRange | None = None
    zones: Zones = ()
    #: Whether an earlier call has met damage in the file: it is then decoded in software.
    damaged: bool = False

    def __post_init__(self) -> None:
        _check_video_key(self)
        check_zones(self.zones)


@dataclass(frozen=True, config=_CONFIG)
class ZoneResult:
    """The part of a :class:`CropInferResult` that is a further zone's."""

    zone_index: ZoneIndex
    label_counts: dict[str, Count]
    caption_frame_extents_db_key: str
    cropped_frames_prefix: str
    chunk_count: Count = 0
    total_size_bytes: Count = 0


@dataclass(frozen=True, config=_CONFIG)
class CropInferResult:
    """The result of a :class:`CropInferRequest`. ``label_counts`` counts the pairs' forward labels.

    Counts and keys are zone 0's; those of further zones are in ``zones``.

    For a segment, all counts are the segment's, and ``caption_frame_extents_db_key`` is its part's key.
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
    model_sha256: str = ""
    damage: str = ""
    #: Of the whole video, as in :class:`ExtractResult`; 0 from a container that does not send it.
    duration: Seconds = 0.0
    time_spans: list[tuple[Count, float, bool]] = field(default_factory=list)
    stage_seconds: dict[str, Seconds] = field(default_factory=dict)
    zones: tuple[ZoneResult, ...] = ()


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
    """A request to read one zone's captions from the chunks of one cropped-frames version."""

    tenant_id: str
    video_id: str
    version: Annotated[int, Field(ge=1)]
    #: The crop region of the zone's frames.
    crop_region: CropRegion
    #: Number of 10 Hz indices in the chunks.
    frame_count: Count
    captions: list[CaptionRange]
    zone: ZoneIndex = 0
    #: Languages of the captions (BCP-47); the installation's without any.
    languages: list[str] = field(default_factory=list)


@dataclass(frozen=True, config=_CONFIG)
class CaptionOcrResult:
    """A caption's text, its lines joined by line feeds; ``error`` is set if it could not be read."""

    ocr_text: str
    confidence: Probability
    frame_count: Count
    caption_id: int = 0
    error: str = ""


def _check_video_key(request: "ExtractRequest | CropInferRequest") -> None:
    """Raise :class:`ContractError` for a video outside of the tenant's prefix."""
    try:
        check_tenant_key(request.video_key, request.tenant_id.lower())
    except InvalidKeyError as error:
        # Pydantic would wrap the original, which is a ValueError.
        raise ContractError(str(error)) from None


class Progress(Protocol):
    """A listener of a function's progress. ``done`` and ``total`` are in the stage's own units."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def no_progress(stage: str, done: int, total: int) -> None:
    """Ignore progress."""


#: Fields that came later, with their defaults. With these they are left out, so that the request for a video
#: that needs none of them stays the same: for containers of an earlier version, and for hashes of requests.
_LATER_FIELDS: dict[str, Any] = {"zones": [], "zone": 0, "languages": [], "damaged": False}


def to_wire(value: Any) -> dict[str, Any]:
    """Convert a contract dataclass to JSON-able data."""
    data: dict[str, Any] = TypeAdapter(type(value)).dump_python(value, mode="json")
    return {
        name: part for name, part in data.items() if name not in _LATER_FIELDS or part != _LATER_FIELDS[name]
    }


def from_wire(kind: type[T], data: Mapping[str, Any]) -> T:
    """Validate JSON-able data as a contract dataclass. Raises :class:`ContractError` with what is wrong."""
    try:
        return TypeAdapter(kind).validate_python(dict(data) if isinstance(data, Mapping) else data)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or kind.__name__}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ContractError(f"the received {kind.__name__} is not valid: {problems}") from None
