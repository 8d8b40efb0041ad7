"""The trained predictor on both backends: its protocol, its shapes, and what its results depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rendered_strips import Strip, hints, render, stored_strips
from small_network import network

from modal_gpu.extents import onnx_backend
from modal_gpu.extents.batches import BATCH, BLOCK
from modal_gpu.extents.checkpoint import shipped
from modal_gpu.extents.decoder import decode
from modal_gpu.extents.export import export
from modal_gpu.extents.network import HALO, REACH, folded, fused
from modal_gpu.extents.network_predictor import NetworkPredictor
from modal_gpu.extents.predictor import Observation, StripHints, collect
from modal_gpu.extents.predictors import load_predictor
from modal_gpu.extents.stored_strips import StoredStrips
from modal_gpu.extents.torch_backend import TorchBackend
from modal_gpu.extents.torch_checkpoint import load_checkpoint, save_checkpoint
from modal_gpu.extents.working_scale import (
    LINE_HEIGHT,
    MULTIPLE,
    STRIDE,
    hint_planes,
    padded,
    reference_picture,
    scaled,
    working_size,
)

CAPTIONS = [(10, 30, "A caption"), (30, 45, "Another one"), (60, 90, "The last")]


@pytest.fixture(scope="module")
def onnx_predictor(tmp_path_factory):
    stored = save_checkpoint(network(), "test-1", tmp_path_factory.mktemp("models"))
    export(stored.path)
    return load_predictor(stored.path, device="cpu")


@pytest.fixture(params=["onnx", "torch"])
def predictor(request):
    """The same network on each backend."""
    if request.param == "onnx":
        return request.getfixturevalue("onnx_predictor")
    return NetworkPredictor(TorchBackend(network()), "test-1", "0" * 64)


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors gain nothing from threads that wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def strips():
    return render(CAPTIONS, 100, "texture")


@pytest.fixture(scope="module")
def layout():
    return hints(CAPTIONS, 100)


def test_batches_follow_each_other_and_cover_every_frame(predictor, strips, layout):
    batches = list(predictor.predict(iter(strips), layout))
    assert len(batches) > 1
    result = collect(batches)
    assert result.presence.shape == (100,) and result.forward.shape == (99, 5)
    assert result.presence.dtype == np.float32
    assert ((result.presence >= 0) & (result.presence <= 1)).all()
    np.testing.assert_allclose(result.forward.sum(axis=1), 1, atol=1e-5)


def test_the_same_strips_give_the_same_answers(predictor, strips, layout):
    first, second = (collect(predictor.predict(iter(strips), layout)) for _ in range(2))
    np.testing.assert_array_equal(first.forward, second.forward)


def test_batches_give_what_the_whole_network_gives(predictor, strips, layout):
    """Split into batches with their neighbours' features beside them, nothing is lost at the borders."""
    made = network()
    size = working_size(*strips[0].luma.shape, layout.line_height)
    working = [padded(scaled(strip.luma, size)) for strip in strips]
    places = np.unique(np.linspace(0, len(strips) - 1, 31).round().astype(int))
    reference = reference_picture([working[place] for place in places])
    planes = torch.from_numpy(hint_planes(size, layout))[None]
    with torch.inference_mode():
        whole = made(torch.from_numpy(np.stack(working))[None], torch.from_numpy(reference)[None], planes)
    result = list(predictor.predict(iter(strips), layout))
    presence, same = (np.concatenate([getattr(b, name) for b in result]) for name in ("presence", "same"))
    np.testing.assert_allclose(presence, whole.presence[0].sigmoid().numpy(), atol=1e-4)
    np.testing.assert_allclose(same, whole.same[0].sigmoid().numpy(), atol=1e-4)


def test_only_frames_nearby_and_the_reference_matter(strips):
    """A window's middle does not depend on what is beyond its halo and the temporal network's reach."""
    made = network()
    size = working_size(*strips[0].luma.shape, 0.5)
    pictures = torch.from_numpy(np.stack([padded(scaled(s.luma, size)) for s in strips]))[None]
    planes = torch.from_numpy(hint_planes(size, StripHints(line_height=0.5)))[None]
    with torch.inference_mode():
        whole = made(pictures, pictures[:, 0], planes)
        part = made(pictures[:, 10:90], pictures[:, 0], planes)
    context = HALO + REACH
    inside, outside = slice(context, 80 - context), slice(10 + context, 90 - context)
    torch.testing.assert_close(part.same[0, inside], whole.same[0, outside], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(part.presence[0, inside], whole.presence[0, outside], atol=1e-4, rtol=1e-4)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 33), st.integers(1, 3), st.integers(1, 3))))
def test_the_reference_picture_is_the_median(pictures):
    median = np.median(pictures, axis=0).astype(np.uint8)
    np.testing.assert_array_equal(reference_picture(pictures), median)
    assert reference_picture(pictures).dtype == np.uint8


@pytest.fixture(scope="module")
def long_video():
    """Strips of a little more than two blocks, and hints with stored strips of the entire video."""
    shown = [(30 * i, 30 * i + 20, f"Caption {i}") for i in range(36)]
    frames = render(shown, 2 * BLOCK + 70, "texture")
    stored = stored_strips(frames, range(0, len(frames), 50))
    return frames, replace(hints(shown, len(frames)), samples=stored)


@pytest.mark.parametrize(("start", "stop"), [(0, BLOCK), (BLOCK, 2 * BLOCK), (2 * BLOCK, 2 * BLOCK + 70)])
def test_a_part_with_its_margin_is_judged_as_in_the_whole_video(predictor, long_video, start, stop):
    frames, layout = long_video
    whole = collect(predictor.predict(iter(frames), layout))
    first = max(0, start - NetworkPredictor.margin)
    last = min(len(frames), stop + NetworkPredictor.margin)
    batches = list(predictor.predict(iter(frames[first:last]), layout, first_index=first))
    presence = np.concatenate([batch.presence for batch in batches])[start - first : stop - first]
    np.testing.assert_array_equal(presence, whole.presence[start:stop])


def test_folding_batch_normalisation_keeps_the_answers():
    """The form that is folded for a GPU also runs on a CPU, with convolutions that both have."""
    made = network()
    strips, reference = torch.randint(16, 235, (1, 20, 32, 64)), torch.randint(16, 235, (1, 32, 64))
    planes = torch.zeros(1, 4, 8, 16)
    with torch.inference_mode():
        before = made(strips, reference, planes)
        after = fused(made)(strips, reference, planes)
    torch.testing.assert_close(after.same, before.same, atol=1e-3, rtol=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded(made).modules())


def test_threads_do_not_change_the_result_of_onnx_runtime(strips, layout):
    one, two = (collect(load_predictor(device="cpu", threads=n).predict(strips, layout)) for n in (1, 2))
    np.testing.assert_array_equal(one.forward, two.forward)
    np.testing.assert_array_equal(one.presence, two.presence)


@pytest.mark.parametrize("count", [BATCH, 50])
def test_the_strips_of_a_batch_go_through_onnx_runtime_in_parts_with_the_same_result(
    strips, layout, count, monkeypatch
):
    in_parts = collect(load_predictor(device="cpu").predict(strips[:count], layout))
    monkeypatch.setattr(onnx_backend, "_RUN", BATCH)
    at_once = collect(load_predictor(device="cpu").predict(strips[:count], layout))
    np.testing.assert_allclose(in_parts.forward, at_once.forward, atol=1e-6)
    np.testing.assert_allclose(in_parts.presence, at_once.presence, atol=1e-6)


@pytest.mark.parametrize("count", [3, 100])
def test_the_shipped_graph_agrees_with_the_shipped_checkpoint(strips, layout, count):
    loaded, _ = load_checkpoint(shipped())
    on_torch = collect(NetworkPredictor(TorchBackend(loaded), "t", "0").predict(strips[:count], layout))
    on_onnx = collect(load_predictor(device="cpu").predict(strips[:count], layout))
    np.testing.assert_allclose(on_onnx.presence, on_torch.presence, atol=1e-3)
    np.testing.assert_allclose(on_onnx.forward, on_torch.forward, atol=1e-3)
    assert decode(on_onnx) == [
        replace(extent, confidence=pytest.approx(extent.confidence, abs=1e-3)) for extent in decode(on_torch)
    ]


def test_mixed_precision_changes_logits_a_little_and_keeps_them_and_gradients_in_float32():
    plain, mixed = network(), network()
    mixed.mixed_precision = True
    strips, reference = torch.rand(1, 20, 32, 64) * 255, torch.rand(1, 32, 64) * 255
    planes = torch.zeros(1, 4, 8, 16)
    expected, found = (each(strips, reference, planes) for each in (plain, mixed))
    for name in ("presence", "same", "text", "change"):
        logits = getattr(found, name)
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, getattr(expected, name), rtol=0.05, atol=0.05)
    assert not torch.equal(found.text, expected.text)
    found.text.sum().backward()
    assert mixed.encoder[0][0].weight.grad.dtype == torch.float32


def test_a_folded_network_can_be_trained_further_and_folded_again():
    made = folded(network())
    strips, reference = torch.randint(16, 235, (1, 20, 32, 64)), torch.randint(16, 235, (1, 32, 64))
    outputs = made(strips, reference, torch.zeros(1, 4, 8, 16))
    outputs.same.sum().backward()
    assert made.encoder[0][0].bias.grad.abs().sum() > 0 and made.text_hints.weight.requires_grad
    again = folded(made).state_dict()
    assert all((again[name] == value).all() for name, value in made.state_dict().items())


@pytest.mark.parametrize("count", [0, 1, 2, REACH, BATCH, BATCH + 1, 3 * BATCH])
def test_videos_of_any_length_are_judged(predictor, strips, layout, count):
    result = collect(predictor.predict(iter(strips[:count]), layout))
    assert result.frame_count == count


def test_with_stored_strips_a_batch_is_judged_once_two_more_were_read(predictor, long_video):
    frames, layout = long_video
    read = 0

    def counted():
        nonlocal read
        for strip in frames:
            read += 1
            yield strip

    next(predictor.predict(counted(), layout))
    assert read <= 3 * BATCH


def test_a_part_can_only_begin_with_a_batch_and_needs_stored_strips(predictor, long_video):
    frames, layout = long_video
    with pytest.raises(ValueError, match="multiple"):
        list(predictor.predict(iter(frames[40:]), layout, first_index=40))
    with pytest.raises(ValueError, match="whole"):
        list(predictor.predict(iter(frames[32:]), replace(layout, samples=StoredStrips()), first_index=32))


def test_a_missing_index_and_a_changed_size_are_refused(predictor, strips, layout):
    with pytest.raises(ValueError, match="expected"):
        list(predictor.predict(iter([strips[0], strips[2]]), layout))
    with pytest.raises(ValueError, match="before"):
        list(predictor.predict(iter([strips[0], Strip(1, strips[1].luma[:, :-8])]), layout))


def test_one_caption_line_has_the_same_height_in_every_video():
    for height, width, line in ((120, 1280, 0.4), (300, 1900, 0.4), (40, 300, 0.6)):
        rows, _ = working_size(height, width, line)
        assert abs(rows * line - LINE_HEIGHT) < 1
    assert max(working_size(60, 8000, 0.5)) <= 1024  # a very wide strip stays small
    assert working_size(16, 16, 0.001)[0] >= 16


def test_strips_and_hints_are_padded_alike():
    size = (37, 101)
    strip = padded(np.zeros(size, np.uint8))
    planes = hint_planes(size, StripHints(0.5, 0.6, "center", 0.5, ((0.0, 0.0, 0.2, 0.5),)))
    assert strip.shape[0] % MULTIPLE == 0 and strip.shape[1] % MULTIPLE == 0
    assert planes.shape == (4, strip.shape[0] // STRIDE, strip.shape[1] // STRIDE)
    assert planes[0].sum() > 0 and planes[0, -1].sum() == 0
    assert abs(planes[1][round(0.6 * 37 / 4 - 0.5)]).max() < 0.15


def test_the_reference_keeps_what_stays():
    """A logo stays in the median of moving pictures; captions that come and go leave it."""
    shown = [(0, 20, "First caption"), (40, 60, "Second one")]
    with_logo = reference_picture([s.luma for s in render(shown, 90, "texture", logo="LOGO")[::3]])
    without = reference_picture([s.luma for s in render([], 90, "texture")[::3]])
    changed = np.abs(with_logo.astype(int) - without) > 60
    assert changed[15:50, 8:90].mean() > 0.05
    assert changed[:, 120:].mean() < 0.005


def test_observed_captions_show_where_captions_stand():
    seen = tuple(Observation(i, ((0.25, 0.5, 0.75 if i else 0.5, 1.0),)) for i in (0, 10))
    planes = hint_planes((32, 128), StripHints(0.5, observations=(*seen, Observation(20))))
    assert (
        planes[3, 6, 10] == 1 and planes[3, 6, 20] == 0 and planes[3, 6, 30] == -1 and planes[3, 0, 10] == -1
    )
    assert not hint_planes((32, 128), StripHints(0.5))[3].any()
