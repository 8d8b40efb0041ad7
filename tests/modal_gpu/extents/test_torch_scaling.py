"""Scaling and medians on a GPU give what those of the CPU give."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modal_gpu.extents.torch_scaling import TorchScaler, area_weights, linear_weights, median_picture
from modal_gpu.extents.working_scale import MULTIPLE, padded, reference_picture, scaled, working_size

CPU = torch.device("cpu")
sides = st.integers(2, 150)


def on_torch(strip: np.ndarray, size: tuple[int, int], device: torch.device = CPU) -> np.ndarray:
    scaler = TorchScaler(strip.shape, size, device)
    return scaler(torch.from_numpy(strip)[None].to(device))[0].cpu().numpy()


def levels_off(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    assert found.dtype == np.uint8 and found.shape == expected.shape
    return np.abs(found.astype(int) - expected)


@given(sides, sides, sides, sides, st.integers(0, 2**32 - 1))
def test_strips_are_scaled_as_opencv_scales_them(height, width, to_height, to_width, seed):
    """One level off at most, where a mean is halfway between two levels."""
    # As working_size does: both sides shrink, or both grow.
    assume((to_height < height) == (to_width < width) or to_width == width)
    strip = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    expected = padded(scaled(strip, (to_height, to_width)))
    assert levels_off(on_torch(strip, (to_height, to_width)), expected).max() <= 1


@pytest.mark.parametrize("height", [60, 97, 130, 216, 300])
def test_strips_as_they_occur_are_scaled_alike_but_for_few_ties(height):
    strip = np.random.default_rng(0).integers(16, 236, (height, height * 8 + 3), dtype=np.uint8)
    strip = cv2.GaussianBlur(strip, (0, 0), 1.5)
    size = working_size(*strip.shape, 0.45)
    off = levels_off(on_torch(strip, size), padded(scaled(strip, size)))
    assert off.max() <= 1 and (off > 0).mean() < 0.001


@given(sides, sides)
def test_weights_of_a_pixel_sum_to_one_and_follow_its_place(one, other):
    source, target = max(one, other), min(one, other)
    for weights in (area_weights(source, target), linear_weights(target, source)):
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        assert (weights >= 0).all() and (np.diff(weights.argmax(axis=1)) >= 0).all()
    np.testing.assert_array_equal(area_weights(source, source), np.eye(source))


def test_a_strip_of_another_size_is_scaled_too():
    scaler = TorchScaler((90, 700), (40, 311), CPU)
    strip = np.random.default_rng(0).integers(0, 256, (45, 350), dtype=np.uint8)
    np.testing.assert_array_equal(scaler.one(strip).numpy(), padded(scaled(strip, (40, 311))))
    assert scaler.padded == scaler.one(strip).shape and not any(side % MULTIPLE for side in scaler.padded)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 33), st.integers(1, 3), st.integers(1, 3))))
def test_the_median_is_that_of_the_reference_picture(pictures):
    found = median_picture(torch.from_numpy(pictures)).numpy()
    np.testing.assert_array_equal(found, reference_picture(pictures))
    assert found.dtype == np.uint8


@pytest.mark.gpu
def test_a_gpu_scales_as_opencv_does():
    strip = np.random.default_rng(0).integers(0, 256, (130, 1180), dtype=np.uint8)
    size = working_size(*strip.shape, 0.45)
    off = levels_off(on_torch(strip, size, torch.device("cuda")), padded(scaled(strip, size)))
    assert off.max() <= 1 and (off > 0).mean() < 0.01
