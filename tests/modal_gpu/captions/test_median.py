"""The median image: exact, and from few frames however long the caption is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.median import MAX_SAMPLES, median_image, sample_indices
from modal_gpu.errors import ContractError


@given(st.integers(1, 33), st.integers(0, 2**32 - 1))
def test_it_is_the_per_pixel_median(count, seed):
    images = np.random.default_rng(seed).integers(0, 256, (count, 5, 7, 3), np.uint8)
    expected = np.floor(np.median(images, axis=0) + 0.5)
    assert np.array_equal(median_image(iter(images)), expected)


def test_images_larger_than_one_band_are_whole():
    images = np.random.default_rng(1).integers(0, 256, (5, 160, 300, 3), np.uint8)
    assert np.array_equal(median_image(images), np.median(images, axis=0).astype(np.uint8))


def test_moving_pictures_vanish_and_the_text_stays():
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 200, (21, 20, 40, 3), np.uint8)
    frames[:, 8:12, 10:30] = 255
    median = median_image(frames)
    assert (median[8:12, 10:30] == 255).all()
    assert median[:6].std() < frames[0, :6].std() / 2


def test_the_input_is_left_alone():
    frames = np.random.default_rng(3).integers(0, 256, (4, 6, 6, 3), np.uint8)
    before = frames.copy()
    median_image(frames)[:] = 0
    median_image(frames[:1])[:] = 0
    assert np.array_equal(frames, before)


def test_no_frames_and_different_sizes_are_refused():
    with pytest.raises(ContractError, match="at least one"):
        median_image([])
    with pytest.raises(ContractError, match="differ"):
        median_image([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)])


@given(st.integers(0, 10_000), st.integers(1, 4_000))
def test_samples_are_few_different_ascending_and_inside(start, length):
    samples = sample_indices(start, start + length)
    assert 1 <= len(samples) <= MAX_SAMPLES
    assert samples == sorted(set(samples))
    assert start <= samples[0] and samples[-1] < start + length


@pytest.mark.parametrize(("length", "margin"), [(1, 0), (3, 0), (4, 1), (9, 1), (10, 2), (30, 2)])
def test_frames_at_the_ends_are_left_out_where_others_remain(length, margin):
    assert sample_indices(100, 100 + length) == list(range(100 + margin, 100 + length - margin))


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="empty"):
        sample_indices(4, 4)
