"""On real footage, with the strip given by hand, nearly all ends of captions are found."""

import re
from fractions import Fraction

import av
import numpy as np
import pytest
from rendered_strips import Strip

from captionacc_dagster.demo.sample import CAPTIONS, make_sample
from modal_gpu.captions.merging import boundary_seconds
from modal_gpu.extents.block_predictor import BlockPredictor
from modal_gpu.extents.checkpoint import shipped
from modal_gpu.extents.decoder import STROKES, decode
from modal_gpu.extents.network_predictor import NetworkPredictor
from modal_gpu.extents.predictor import StripHints, collect
from modal_gpu.extents.predictors import load_predictor
from modal_gpu.extents.strokes import StrokePredictor
from modal_gpu.extents.torch_backend import TorchBackend
from modal_gpu.extents.torch_checkpoint import load_checkpoint

LEFT, TOP, RIGHT, BOTTOM = 80, 540, 1200, 700


def strips(path, seconds):
    """Yield the 10 Hz strips of a video that starts at zero: the frame shown at i / 10 s."""
    index, last = 0, None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            while last is not None and Fraction(index, 10) < frame.pts * stream.time_base:
                if index >= seconds * 10:
                    return
                plane = last.reformat(format="gray").to_ndarray()
                yield Strip(index, plane[TOP:BOTTOM, LEFT:RIGHT].copy())
                index += 1
            last = frame


def truth(path):
    stamp = r"(\d+):(\d+):(\d+),(\d+)"
    for match in re.finditer(rf"{stamp} --> {stamp}", path.read_text("utf-8")):
        h, m, s, ms, h2, m2, s2, ms2 = map(int, match.groups())
        yield h * 3600 + m * 60 + s + ms / 1000, h2 * 3600 + m2 * 60 + s2 + ms2 / 1000


@pytest.mark.data
@pytest.mark.parametrize(("name", "seconds"), [("en90", 20), ("zh80", 20)])
def test_the_ends_of_captions_on_real_footage_are_found(data_dir, name, seconds):
    captions = [(a, b) for a, b in truth(data_dir / "clips" / f"{name}.srt") if b < seconds - 0.2]
    layout = StripHints(line_height=0.25, anchor_type="center", anchor_position=0.5)
    result = collect(StrokePredictor().predict(strips(data_dir / "clips" / f"{name}.mp4", seconds), layout))
    extents = decode(result, STROKES)
    edges = [boundary_seconds(e, result.frame_count, seconds) for x in extents for e in (x.start, x.end)]
    # Fragments are joined by their text later, but must stay few.
    assert len(extents) <= 2 * len(captions)
    missed = [edge for caption in captions for edge in caption if min(abs(edge - e) for e in edges) > 0.1]
    assert len(missed) <= 0.04 * 2 * len(captions), missed


def assert_same_on_each_backend(frames):
    """ONNX Runtime, PyTorch, and PyTorch in blocks as on a GPU find the same captions."""
    layout = StripHints(line_height=0.25, anchor_type="center", anchor_position=0.5)
    network, _ = load_checkpoint(shipped())
    on_torch = NetworkPredictor(TorchBackend(network), "torch", "")
    in_blocks = BlockPredictor(network, "blocks", "", device="cpu", block=64)
    found, *others = (
        collect(predictor.predict(frames, layout))
        for predictor in (load_predictor(device="cpu"), on_torch, in_blocks)
    )
    extents = [(extent.start, extent.end) for extent in decode(found)]
    assert len(extents) > 5
    for other in others:
        np.testing.assert_allclose(found.forward, other.forward, atol=1e-3)
        np.testing.assert_array_equal(found.forward.argmax(axis=1), other.forward.argmax(axis=1))
        assert [(extent.start, extent.end) for extent in decode(other)] == extents


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["en90", "zh80"])
def test_onnx_runtime_and_pytorch_find_the_same_captions(data_dir, name):
    assert_same_on_each_backend(list(strips(data_dir / "clips" / f"{name}.mp4", 25)))


@pytest.mark.slow
def test_onnx_runtime_and_pytorch_find_the_same_captions_of_the_sample(tmp_path):
    video = tmp_path / "sample.mp4"
    make_sample(video, captions=CAPTIONS[:6], duration=12)
    with av.open(str(video)) as container:
        shown = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        rate = float(container.streams.video[0].average_rate)
    height = shown[0].shape[0]
    tenths = [shown[int(i * rate / 10)] for i in range(int(len(shown) * 10 / rate))]
    bands = [Strip(i, picture[int(0.7 * height) :].copy()) for i, picture in enumerate(tenths)]
    assert_same_on_each_backend(bands)
