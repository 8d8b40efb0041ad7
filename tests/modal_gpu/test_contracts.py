"""Messages on the wire: JSON, checked on arrival, equal after a round trip."""

import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modal_gpu import errors
from modal_gpu.contracts import (
    MIN_CROP_FRACTION,
    MIN_CROP_PIXELS,
    CaptionOcrRequest,
    CaptionOcrResult,
    CaptionRange,
    CaptionZone,
    CropInferRequest,
    CropInferResult,
    CropRegion,
    ExtractRequest,
    ExtractResult,
    ZoneResult,
    from_wire,
    to_wire,
)
from modal_gpu.errors import ContractError, InvalidCropRegionError

T, V = "0a9f5e0e-7a4a-4f6e-9a0b-1f1f0a6b7c8d", "123e4567-e89b-12d3-a456-426614174000"
REGION = CropRegion(0.1, 0.75, 0.9, 0.95)

MESSAGES: list[Any] = [
    REGION,
    ExtractRequest(T, V, f"{T}/k.mp4", frozenset({"layout_db"})),
    ExtractResult(
        900,
        90.0,
        1280,
        720,
        "h264",
        0,
        41,
        1,
        3.5,
        "f/",
        "o",
        "l",
        30,
        "cut off",
        [(0, 1.5, True)],
        {"ocr": 2.5},
    ),
    CropInferRequest(T, V, f"{T}/k.mp4", REGION, 2, "run-1"),
    CropInferResult(2, 900, {"same": 850, "different": 3}, 4.5, "e", "p/", 30, 10_000, "v1"),
    CaptionOcrRequest(T, V, 2, REGION, 900, [CaptionRange(1, 0, 10), CaptionRange(2, 10, 11)]),
    CropInferRequest(T, V, f"{T}/k.mp4", REGION, 2, "run-1", zones=(CaptionZone(3, REGION, "pt-BR"),)),
    CropInferResult(
        2, 900, {"same": 899}, 4.5, "e", "p/", zones=(ZoneResult(3, {"same": 899}, "e3", "p3/", 30, 10_000),)
    ),
    CaptionOcrRequest(T, V, 2, REGION, 900, [CaptionRange(1, 0, 10)], zone=3),
    CaptionOcrResult("two\nlines – 字幕", 0.875, 10, 1),
]
each_message = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)


@each_message
def test_a_message_is_the_same_after_json(message: Any) -> None:
    wire = json.loads(json.dumps(to_wire(message), allow_nan=False))
    assert from_wire(type(message), wire) == message


@pytest.mark.parametrize(
    "key",
    ["v.mp4", f"{V}/v.mp4", f"{T}/../{V}/v.mp4", f"{T}/a\\b", f"{T}/a\nb", f"{T}/" + "x" * 900, f"{T}/"],
)
def test_a_request_takes_no_video_outside_its_tenants_prefix(key: str) -> None:
    extract = to_wire(ExtractRequest(T, V, f"{T}/v.mp4")) | {"video_key": key}
    crop = to_wire(CropInferRequest(T, V, f"{T}/v.mp4", REGION, 2, "run-1")) | {"video_key": key}
    for kind, wire in ((ExtractRequest, extract), (CropInferRequest, crop)):
        with pytest.raises(ContractError, match=r"prefix|storage key") as refused:
            from_wire(kind, wire)
        assert "\n" not in str(refused.value)
    with pytest.raises(ContractError):
        ExtractRequest(T, V, key)


@each_message
def test_an_unknown_field_is_named(message: Any) -> None:
    with pytest.raises(ContractError, match="colour"):
        from_wire(type(message), {**to_wire(message), "colour": "red"})


@each_message
def test_a_missing_field_is_named(message: Any) -> None:
    wire = to_wire(message)
    first = next(iter(wire))
    del wire[first]
    with pytest.raises(ContractError, match=first):
        from_wire(type(message), wire)


@pytest.mark.parametrize("data", [None, [], "text", 7])
def test_anything_but_an_object_is_a_contract_error(data: Any) -> None:
    with pytest.raises(ContractError, match="ExtractResult"):
        from_wire(ExtractResult, data)


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        (MESSAGES[2], "frame_count", -1),
        (MESSAGES[2], "duration", math.nan),
        (MESSAGES[2], "duration", math.inf),
        (MESSAGES[1], "outputs", ["captions_db"]),
        (MESSAGES[3], "version", 0),
        (MESSAGES[4], "label_counts", {"same": -1}),
        (MESSAGES[6], "confidence", 1.01),
    ],
)
def test_a_value_out_of_range_is_named(message: Any, field: str, value: Any) -> None:
    with pytest.raises(ContractError, match=field):
        from_wire(type(message), {**to_wire(message), field: value})


def test_a_bad_crop_region_inside_a_request_is_refused_with_its_values() -> None:
    wire = to_wire(MESSAGES[3])
    wire["crop_region"]["crop_bottom"] = 1.5
    with pytest.raises(InvalidCropRegionError, match=r"bottom=1\.5"):
        from_wire(CropInferRequest, wire)


def test_an_empty_caption_is_refused() -> None:
    with pytest.raises(ContractError, match=r"\[5, 5\)"):
        CaptionRange(3, 5, 5)


fractions = st.floats(0, 1)
sides = st.integers(1, 8192)


@st.composite
def regions(draw: st.DrawFn) -> CropRegion:
    left, right = sorted((draw(fractions), draw(fractions)))
    top, bottom = sorted((draw(fractions), draw(fractions)))
    assume(min(right - left, bottom - top) >= MIN_CROP_FRACTION)
    return CropRegion(left, top, right, bottom)


@given(regions(), sides, sides)
def test_a_crop_in_pixels_is_even_and_inside_and_large(region: CropRegion, width: int, height: int) -> None:
    left, top, right, bottom = region.pixels(width, height)
    for start, end, size in ((left, right, width), (top, bottom, height)):
        even_size = size - size % 2
        assert start % 2 == end % 2 == 0
        assert 0 <= start <= end <= even_size
        assert end - start >= min(MIN_CROP_PIXELS, even_size)


@given(regions(), sides, sides)
def test_a_crop_in_pixels_covers_the_region(region: CropRegion, width: int, height: int) -> None:
    """An odd side may lose its last column or row, which 4:2:0 video cannot store."""
    left, top, right, bottom = region.pixels(width, height)
    assert left <= region.crop_left * width + 1e-4
    assert top <= region.crop_top * height + 1e-4
    assert right >= min(region.crop_right * width, width - width % 2) - 1e-4
    assert bottom >= min(region.crop_bottom * height, height - height % 2) - 1e-4


@given(st.data(), st.integers(8, 2000))
def test_a_region_made_from_even_pixels_gives_them_back(data: st.DataObject, half: int) -> None:
    size = 2 * half
    least = max(8, math.ceil(half * MIN_CROP_FRACTION))
    low = data.draw(st.integers(0, half - least)) * 2
    high = data.draw(st.integers(low // 2 + least, half)) * 2
    region = CropRegion(low / size, low / size, high / size, high / size)
    assert region.pixels(size, size) == (low, low, high, high)


@given(regions(), sides, sides)
def test_a_crop_is_at_most_two_pixels_larger_a_side(region: CropRegion, width: int, height: int) -> None:
    left, _, right, _ = region.pixels(width, height)
    if (region.crop_right - region.crop_left) * width >= MIN_CROP_PIXELS:
        assert left > region.crop_left * width - 2.001
        assert right < region.crop_right * width + 2.001


@pytest.mark.parametrize(
    "values",
    [
        (-0.01, 0, 1, 1),
        (0, 0, 1, 1.01),
        (0.5, 0, 0.5, 1),
        (0.6, 0, 0.5, 1),
        (0, 0.9, 1, 0.1),
        (math.nan, 0, 1, 1),
        (0, 0, math.inf, 1),
        (0, 0, 640, 100),
    ],
)
def test_a_region_outside_the_frame_or_empty_is_refused_with_its_values(values: tuple[float, ...]) -> None:
    with pytest.raises(InvalidCropRegionError) as caught:
        CropRegion(*values)
    for value in values:
        assert f"={float(value)}" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [(0, 0.5, 1, 0.5 + 1e-12), (0.3, 0, 0.3 + 1 / 640, 1), (0, 0.99, 1, 0.9999), (0.1, 0.8, 0.10999, 1)],
)
def test_a_region_too_thin_to_hold_a_caption_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(InvalidCropRegionError, match=r"too thin: at least 0\.01 of the frame a side"):
        CropRegion(*values)


@given(st.integers(0, 99), st.integers(0, 99))
def test_a_hundredth_of_the_frame_is_enough_wherever_it_is(left: int, top: int) -> None:
    CropRegion(left / 100, top / 100, (left + 1) / 100, (top + 1) / 100)


@st.composite
def spans_that_touch_the_frame(draw: st.DrawFn) -> tuple[float, float]:
    start = draw(st.floats(-1, 1))
    return start, draw(st.floats(max(start, 0), 2))


@given(spans_that_touch_the_frame(), spans_that_touch_the_frame())
def test_a_region_around_a_rectangle_covers_what_is_inside_the_frame(
    across: tuple[float, float], down: tuple[float, float]
) -> None:
    (left, right), (top, bottom) = across, down
    region = CropRegion.around(left, top, right, bottom)
    assert region.crop_left <= max(0, left) + 1e-9 and region.crop_right >= min(1, right) - 1e-9
    assert region.crop_top <= max(0, top) + 1e-9 and region.crop_bottom >= min(1, bottom) - 1e-9


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)],
    ids=lambda kind: kind.__name__,
)
def test_errors_survive_the_wire_with_type_and_message(kind: type[errors.CaptionAccError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what is wrong, and what to do")))
    assert type(error) is kind
    assert str(error) == "what is wrong, and what to do"
    assert isinstance(error.retryable, bool)


def test_the_request_for_one_zone_is_the_one_that_earlier_containers_know() -> None:
    crop = to_wire(CropInferRequest(T, V, f"{T}/k.mp4", REGION, 2, "run-1"))
    read = to_wire(CaptionOcrRequest(T, V, 2, REGION, 900, [CaptionRange(1, 0, 10)]))
    assert "zones" not in crop
    assert "zone" not in read


@pytest.mark.parametrize(
    ("zone", "field"),
    [
        ({"zone_index": 0}, "zone_index"),
        ({"zone_index": 8}, "zone_index"),
        ({"language": "?"}, "language"),
        ({"crop_region": {"crop_left": 0.5}}, "crop_region"),
    ],
)
def test_a_zone_out_of_range_is_refused_by_name(zone: dict[str, Any], field: str) -> None:
    good = to_wire(CaptionZone(1, REGION, "ko"))
    with pytest.raises(ContractError, match=field):
        from_wire(CaptionZone, good | zone)


def test_two_zones_with_one_index_are_refused() -> None:
    with pytest.raises(ContractError, match="two caption zones have the index 2"):
        CropInferRequest(T, V, f"{T}/k.mp4", REGION, 1, "r", zones=(CaptionZone(2, REGION),) * 2)
