"""The requests and results of the compute functions.

Only plain JSON-able data crosses the wire (:func:`to_wire`, :func:`from_wire`), so that the two sides may
have different versions. An unknown field or a value out of range raises a :class:`ContractError` with its
name.
"""

from collections.abc import Mapping
from dataclasses import field
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from modal_gpu.crop_region import MIN_CROP_FRACTION as MIN_CROP_FRACTION
from modal_gpu.crop_region import MIN_CROP_PIXELS as MIN_CROP_PIXELS
from modal_gpu.crop_region import CropRegion as CropRegion
from modal_gpu.errors import ContractError, InvalidKeyError
from modal_gpu.frame_index import SEGMENT_ALIGNMENT
from modal_gpu.frame_rates import CROP_RATE, crop_step, exact_rate
from modal_gpu.keys import check_tenant_key

_CONFIG = ConfigDict(extra="forbid")

T = TypeVar("T")
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # JSON has no infinity
Probability = Annotated[float, Field(ge=0, le=1)]

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
    #: Full frames a second, at the nearest tenths of a second. All are read. ``None``: the platform's own
    #: spacing.
    full_frame_rate: float | None = None

    def __post_init__(self) -> None:
        _check_video_key(self)
        if self.full_frame_rate is not None:
            exact_rate(self.full_frame_rate)


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
    #: Cropped frames a second: 10, 5, 2 or 1. Below 10 only every second, fifth or tenth index has a frame.
    crop_rate: float = CROP_RATE

    def __post_init__(self) -> None:
        _check_video_key(self)
        check_zones(self.zones)
        if self.step != 1 and self.segment is not None:
            raise ContractError(f"a part of a video is cropped at 10 Hz, not at {self.crop_rate:g} Hz")

    @property
    def step(self) -> int:
        """Indices from one cropped frame to the next."""
        return crop_step(self.crop_rate)


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
    #: Stored frames a second, as in :class:`CropInferRequest`.
    crop_rate: float = CROP_RATE

    @property
    def step(self) -> int:
        """Indices from one stored frame to the next."""
        return crop_step(self.crop_rate)


@dataclass(frozen=True, config=_CONFIG)
class CaptionOcrResult:
    """A caption's text, its lines joined by line feeds; ``error`` is set if it could not be read."""

    ocr_text: str
    confidence: Probability
    frame_count: Count
    caption_id: int = 0
    error: str = ""
    #: The index in the middle of the caption; only of a call for a single caption.
    median_frame_index: Count | None = None


@dataclass(frozen=True, config=_CONFIG)
class InferenceBatchRequest:
    """A request to judge the chunks of one cropped-frames version with a model's version.

    ``frame_pairs`` are counted in the result; without any, all pairs of neighbouring frames.
    """

    tenant_id: str
    video_id: str
    cropped_frames_version: Annotated[int, Field(ge=1)]
    model_version: Annotated[str, Field(min_length=1, max_length=200)]
    run_id: str
    frame_pairs: list[tuple[Count, Count]] | None = None


@dataclass(frozen=True, config=_CONFIG)
class InferenceBatchResult:
    """The result of an :class:`InferenceBatchRequest`. ``failed`` pairs are not neighbouring frames."""

    status: Literal["completed"]
    run_id: str
    storage_key: str
    successful: Count
    failed: Count
    total_pairs: Count
    label_counts: dict[str, Count]
    model_version: str
    model_sha256: str
    processing_duration_seconds: Seconds


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


#: The stage of progress that says: what readers can see of a running call's results is more than before.
READY = "ready"


#: Fields that came later, with their defaults. With these they are left out, so that the request for a video
#: that needs none of them stays the same: for containers of an earlier version, and for hashes of requests.
_LATER_FIELDS: dict[str, Any] = {
    "zones": [],
    "zone": 0,
    "languages": [],
    "damaged": False,
    "full_frame_rate": None,
    "crop_rate": CROP_RATE,
    "median_frame_index": None,
}


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
