"""A further zone needs several texts at one place; signs that share a place by chance are none."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.contracts import CropRegion
from modal_gpu.layout.further_bands import apart
from modal_gpu.ocr.engine import FrameOcr, OcrLine
from tests.modal_gpu.layout.readings import LOGO, analyze, captions_in, line, text, video

SIGNS = ["Exit", "Station Road", "Bookshop", "Harbour", "No parking"]


def captions_and(*others: list[OcrLine], every: int = 4) -> list[FrameOcr]:
    """Captions at the bottom of 40 frames, and each of the others in one frame out of ``every``."""
    rest = list(others)
    return video(
        *([line(text(i), 0.92), *(rest.pop(0) if rest and i % every == 0 else [])] for i in range(40))
    )


def test_a_translation_at_a_stable_place_is_a_zone_and_the_signs_at_changing_places_are_none():
    places = [(0.5, 0.62), (0.44, 0.31), (0.55, 0.15)]
    frames = captions_and(
        *(
            [line(f"({name})", 0.2, left=0.06, height=0.05), line(SIGNS[i + 2] + "!", y, left=x, height=0.08)]
            for i, (name, (y, x)) in enumerate(zip(SIGNS, places, strict=False))
        )
    )
    layout = analyze(frames)
    (zone,) = layout.zones
    assert (zone.anchor_type, zone.vertical_center) == ("left", pytest.approx(0.2))
    assert captions_in(layout, frames) >= {f"({name})" for name in SIGNS[:3]}
    assert "Other text, such as" in layout.reason and "in no zone" in layout.reason


def test_two_texts_at_a_place_are_no_zone():
    layout = analyze(captions_and([line("Chapter one", 0.2)], [line("The harbour", 0.2)]))
    assert layout.found and layout.zones == ()


def test_readings_of_one_text_are_no_zone():
    readings = [
        "Harbour view",
        "Harbourview",
        "Harbovr view",
        "Harbour vlew",
        "Harbour vievv",
        "Harb0ur view",
    ]
    layout = analyze(captions_and(*([line(reading, 0.2, left=0.1)] for reading in readings), every=6))
    assert layout.found and layout.zones == ()


@pytest.mark.parametrize("seed", range(4))
def test_signs_all_over_the_picture_are_no_zone(seed: int):
    rng = random.Random(seed)

    def sign() -> OcrLine:
        name = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=rng.randint(3, 12)))
        return line(name, rng.uniform(0.15, 0.75), left=rng.uniform(0, 0.8), height=rng.uniform(0.03, 0.08))

    frames = video(*([LOGO, line(text(i), 0.92), *(sign() for _ in range(3))] for i in range(60)))
    assert analyze(frames).zones == ()


def test_a_second_line_or_a_raised_caption_beside_the_band_is_no_zone_of_its_own():
    frames = video(
        *(
            [line(text(i), 0.85), line(text(i + 50, 3), 0.92)] if i % 3 == 0 else [line(text(i), 0.92)]
            for i in range(30)
        )
    )
    assert analyze(frames).zones == ()


def test_a_person_decides_on_text_that_is_too_rare():
    frames = captions_and([line("Chapter one", 0.2)], [line("The harbour", 0.2)])
    layout = analyze(frames, labels={(0, 1): "in"})
    # A person's label outweighs the number of texts, so that band is zone 0.
    assert layout.vertical_center == pytest.approx(0.2)
    assert [zone.vertical_center for zone in layout.zones] == [pytest.approx(0.92)]


fractions = st.integers(0, 100).map(lambda n: n / 100)


@given(st.lists(st.tuples(fractions, fractions), min_size=2, max_size=5))
def test_crop_regions_of_zones_never_overlap_and_hold_their_lines(bands: list[tuple[float, float]]):
    regions: list[CropRegion] = []
    for low, high in bands:
        top, bottom = sorted((low, high))
        if bottom - top < 0.02:
            continue
        padded = CropRegion.around(0, top - 0.1, 1, bottom + 0.1)
        region = apart(padded, (top, bottom), regions)
        if region is None:
            assert any(top < other.crop_bottom and other.crop_top < bottom for other in regions)
            continue
        assert region.crop_top <= top and bottom <= region.crop_bottom
        for other in regions:
            assert region.crop_bottom <= other.crop_top or other.crop_bottom <= region.crop_top
        regions.append(region)


@pytest.mark.parametrize("titles", [range(6), range(34, 40)], ids=["before", "after"])
def test_titles_before_all_captions_and_credits_after_them_are_no_zone(titles: range):
    frames = video(
        *(
            [line(text(900 + i), 0.5, height=0.06)] if i in titles else [line(text(i), 0.92)]
            for i in range(40)
        )
    )
    layout = analyze(frames)
    assert layout.found and layout.zones == ()


def test_captions_that_move_to_the_top_for_the_rest_of_a_video_are_a_zone():
    frames = video(*([line(text(i), 0.92 if i < 20 else 0.1)] for i in range(40)))
    assert len(analyze(frames).zones) == 1
