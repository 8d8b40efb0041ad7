"""The stroke predictor on the hard cases of burned-in captions, rendered small."""

import tracemalloc

import numpy as np
import pytest
from rendered_strips import HEIGHT, LINE, Strip, hints, render

from modal_gpu.contracts import MIN_CROP_FRACTION, CropRegion
from modal_gpu.extents.decoder import STROKES, decode
from modal_gpu.extents.predictor import StripHints, collect
from modal_gpu.extents.strokes import StrokePredictor, StrokeSettings

TALK = [(6, 30, "Where were you?"), (30, 52, "At the office."), (58, 80, "All night long?")]


def ranges(strips, layout, **settings):
    result = collect(StrokePredictor(StrokeSettings(**settings)).predict(strips, layout))
    extents = decode(result, STROKES)
    return [(extent.start, extent.end) for extent in extents]


def boundaries(found):
    return {edge for extent in found for edge in extent}


@pytest.mark.parametrize("kind", ["gradient", "texture"])
def test_captions_on_moving_pictures_are_found_to_the_frame(kind):
    found = ranges(render(TALK, 90, kind), hints(TALK, 90))
    assert found == [(start, end) for start, end, _ in TALK]


def test_captions_are_found_without_any_observation():
    found = ranges(render(TALK, 90), StripHints(line_height=LINE / HEIGHT))
    assert found == [(start, end) for start, end, _ in TALK]


def test_one_changed_digit_without_a_gap_is_a_new_caption():
    steps = [(5, 25, "Step 1"), (25, 45, "Step 2"), (45, 65, "Step 4")]
    assert ranges(render(steps, 70), hints(steps, 70)) == [(5, 25), (25, 45), (45, 65)]


def test_a_changed_last_word_is_a_new_caption():
    pair = [(5, 25, "I was at home"), (25, 45, "I was at home again")]
    assert ranges(render(pair, 50, left=60), hints(pair, 50)) == [(5, 25), (25, 45)]


def test_fades_between_captions_do_not_join_them():
    found = ranges(render(TALK, 90, fade=2), hints(TALK, 90, step=9))
    assert len(found) == 3
    for (start, end), (true_start, true_end, _) in zip(found, TALK, strict=True):
        assert abs(start - true_start) <= 1 and abs(end - true_end) <= 1


def test_a_slow_fade_through_nothing_separates_two_captions():
    pair = [(5, 40, "Where were you?"), (40, 75, "At the office.")]
    found = ranges(render(pair, 80, fade=6), hints(pair, 80))
    assert any(abs(edge - 40) <= 2 for edge in boundaries(found))


def test_a_caption_that_stands_over_scene_cuts_keeps_its_ends():
    lasting = [(10, 60, "This one stays on")]
    edges = boundaries(ranges(render(lasting, 70, "cuts"), hints(lasting, 70)))
    # Fragments inside are allowed, OCR joins them; its own ends must be there.
    assert {10, 60} <= edges


def test_a_one_frame_caption_is_found():
    flash = [(5, 20, "Wait for it"), (30, 31, "Now!"), (40, 60, "Too late.")]
    assert (30, 31) in ranges(render(flash, 65), hints(flash, 65))


def test_a_single_flash_frame_does_not_split_a_caption():
    strips = render(TALK, 90)
    strips[18] = Strip(18, np.full_like(strips[18].luma, 250))
    assert ranges(strips, hints(TALK, 90))[0] == (6, 30)


def test_a_logo_in_an_ignored_box_is_not_a_caption():
    layout = hints(TALK, 90, ignore_boxes=((0.0, 0.0, 0.17, 1.0),))
    found = ranges(render(TALK, 90, logo="TV7"), layout)
    assert found == [(start, end) for start, end, _ in TALK]


def test_a_permanent_logo_is_recognized_in_a_long_video():
    captions = [(20 + 40 * k, 50 + 40 * k, f"Caption {'abcdefgh'[k % 8] * 3}") for k in range(7)]
    found = ranges(render(captions, 320, logo="TV7"), StripHints(line_height=LINE / HEIGHT))
    assert found == [(start, end) for start, end, _ in captions]


def test_dark_captions_on_a_bright_picture_are_found():
    strips = [Strip(s.index, 255 - s.luma) for s in render(TALK, 90)]
    assert ranges(strips, hints(TALK, 90)) == [(start, end) for start, end, _ in TALK]


def test_a_video_without_captions_has_no_extents():
    assert ranges(render([], 60), hints([], 60)) == []
    black = [Strip(i, np.full((HEIGHT, 200), 16, np.uint8)) for i in range(20)]
    assert ranges(black, StripHints(line_height=0.4)) == []


@pytest.mark.parametrize("block", [17, 40, 89, 90, 91])
def test_blocks_do_not_show_in_the_result(block):
    strips, layout = render(TALK, 90), hints(TALK, 90, step=5)
    whole = ranges(strips, layout)
    assert ranges(strips, layout, block_frames=block) == whole


def test_batches_are_contiguous_and_only_a_bounded_number_of_frames_is_taken_ahead():
    taken = 0

    def counted():
        nonlocal taken
        for strip in render(TALK, 90):
            taken += 1
            yield strip

    done = 0
    for batch in StrokePredictor(StrokeSettings(block_frames=20)).predict(counted(), hints(TALK, 90)):
        assert batch.first_index == done
        done += len(batch.presence)
        assert batch.presence.dtype == batch.same.dtype == np.float32
        assert taken <= done + 8
    assert done == 90


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_very_short_videos_are_handled(count):
    result = collect(StrokePredictor().predict(render([], count), StripHints(line_height=0.5)))
    assert result.frame_count == count
    assert decode(result, STROKES) == []


def test_a_missing_frame_and_a_changed_size_are_refused():
    strips = render([], 4)
    with pytest.raises(ValueError, match="expected"):
        collect(StrokePredictor().predict([strips[0], strips[2]], StripHints(line_height=0.5)))
    smaller = Strip(1, strips[1].luma[:-2])
    with pytest.raises(ValueError, match="ones before"):
        collect(StrokePredictor().predict([strips[0], smaller], StripHints(line_height=0.5)))


def test_the_identity_of_the_predictor_follows_its_settings():
    assert StrokePredictor().model_sha256 == StrokePredictor().model_sha256
    assert StrokePredictor().model_sha256 != StrokePredictor(StrokeSettings(noise_floor=7)).model_sha256


@pytest.mark.parametrize("size", [(16, 16), (16, 640), (640, 16)], ids=str)
def test_the_thinnest_region_costs_no_more_memory_than_another(size: tuple[int, int]):
    """Sizes in line heights grow without bound as a region shrinks: a region of 1e-12 needed 394 TiB."""
    region = CropRegion(0.5, 0.5, 0.5 + MIN_CROP_FRACTION, 0.5 + MIN_CROP_FRACTION)
    layout = StripHints.from_frame_layout(
        region,
        box_height=1.0,
        vertical_center=0.0,
        anchor_type="center",
        anchor_position=1.0,
        ignore_boxes=[(0.0, 0.0, 0.504, 1.0)],
        caption_boxes=[(0, [(0.5, 0.0, 1.0, 1.0)]), (10, [])],
    )
    noise = np.random.default_rng(0).integers(0, 255, (20, *size), np.uint8)
    strips = [Strip(index, luma) for index, luma in enumerate(noise)]
    tracemalloc.start()
    try:
        assert collect(StrokePredictor().predict(strips, layout)).frame_count == 20
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
