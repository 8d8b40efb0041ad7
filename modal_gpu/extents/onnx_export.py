"""Export of the trained network as an ONNX graph for CPUs.

The graph has three parts, which share nothing but the file: ``encode`` for a batch of strips, ``maps`` for
the features of a batch with its neighbours, ``judge`` for pooled values. They compute what the methods of
the same names of :class:`~modal_gpu.extents.network.ExtentsNetwork` compute, in float32. A run asks for
the outputs of one part; the inputs of the others have defaults of a few cells, which cost 0.1 ms a run.

The nodes are written here one by one, because ONNX Runtime wants other layouts than PyTorch: channels
before rows, channels in blocks of 16, and few copies between convolutions. The same checkpoint always
gives the same file.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.checkpoint import Graph, graphs_of
from modal_gpu.extents.network import DILATIONS, HALO, PAIRS, REACH, NetworkSettings, fused
from modal_gpu.extents.onnx_graph import GraphBuilder
from modal_gpu.extents.torch_checkpoint import load_checkpoint

#: ONNX Runtime's convolutions compute this many channels at a time where the CPU has AVX-512.
_CHANNEL_BLOCK = 16

Weights = dict[str, NDArray[np.float32]]


def export_graph(checkpoint_file: Path, folder: Path) -> Graph:
    """Write the graph of a checkpoint; graphs of it written earlier are removed.

    Raises :class:`CheckpointError` when the checkpoint is damaged.
    """
    network, checkpoint = load_checkpoint(checkpoint_file)
    prepared = fused(network)
    weights = {name: value.detach().cpu().numpy() for name, value in prepared.state_dict().items()}
    data = _graph(weights, prepared.settings, checkpoint.version, checkpoint.sha256)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{checkpoint_file.stem}.{digest[:8]}.onnx"
    partial = path.with_suffix(".part")
    partial.write_bytes(data)
    for earlier in graphs_of(folder / checkpoint_file.name):
        earlier.unlink()
    partial.replace(path)
    return Graph(path, checkpoint.version, checkpoint.sha256[:8], digest)


def _graph(weights: Weights, settings: NetworkSettings, version: str, sha256: str) -> bytes:
    graph = GraphBuilder()
    _encode(graph, weights, settings)
    _maps(graph, weights, settings)
    _judge(graph, weights)
    metadata = {
        "version": version,
        "checkpoint_sha256": sha256,
        "halo": str(HALO),
        "reach": str(REACH),
    }
    return graph.serialized("extents", metadata)


def _encode(g: GraphBuilder, weights: Weights, s: NetworkSettings) -> None:
    """Add features of strips, uint8 (n, H, W), beside a reference picture (1, H, W)."""
    none = np.zeros((1, 8, 8), np.uint8)
    strips = g.add("Unsqueeze", g.input("encode.strips", none, ["n", "H", "W"]), g.integers(1))
    reference = g.add("Unsqueeze", g.input("encode.reference", none, [1, "H", "W"]), g.integers(1))
    reference = g.add("Expand", reference, g.add("Shape", strips))
    x = g.add("Cast", g.add("Concat", strips, reference, axis=1), to=1)
    # With whole blocks of channels between them, the first two convolutions need no other layout.
    room = -s.stem % _CHANNEL_BLOCK
    first, second = weights["encoder.0.0.weight"], weights["encoder.1.0.weight"]
    first = np.pad(first, ((0, room), (0, 0), (0, 0), (0, 0)))
    bias = np.pad(weights["encoder.0.0.bias"], (0, room))
    x = g.add("Relu", g.convolution(x, "encoder.0.0", first, bias, stride=2))
    second = np.pad(second, ((0, 0), (0, room), (0, 0), (0, 0)))
    x = g.add("Relu", g.convolution(x, "encoder.1.0", second, weights["encoder.1.0.bias"], stride=2))
    for block in range(2, 2 + s.blocks):
        x = g.add("Add", _block(g, x, f"encoder.{block}.body", weights), x)
    weight, bias = weights["projection.weight"], weights["projection.bias"]
    alone = g.convolution(x, "projection.alone", weight[: s.mix], bias[: s.mix])
    compared = g.convolution(x, "projection.compared", weight[s.mix :], bias[s.mix :])
    g.output("alone", alone, ["n", s.mix, "h", "w"])
    g.output("compared", compared, ["n", s.compared, "h", "w"])


def _block(g: GraphBuilder, x: str, name: str, weights: Weights) -> str:
    """Return a convolution with its ReLU."""
    name = f"{name}.0"
    return g.add("Relu", g.convolution(x, name, weights[f"{name}.weight"], weights[f"{name}.bias"]))


def _maps(g: GraphBuilder, weights: Weights, s: NetworkSettings) -> None:
    """Add pooled values of n frames.

    ``alone`` begins with the frame before them, ``compared`` HALO + 1 frames before them, and ends HALO
    frames behind them. ``start`` means that the frame before the first one stands in for a missing one.
    """
    cells = [2, 2]
    alone = g.input("maps.alone", np.zeros((2, s.mix, *cells), np.float32), ["m", s.mix, "h", "w"])
    compared = g.input(
        "maps.compared", np.zeros((2 * HALO + 2, s.compared, *cells), np.float32), ["t", s.compared, "h", "w"]
    )
    hints = g.input("maps.hints", np.zeros((1, s.hints, *cells), np.float32), [1, s.hints, "h", "w"])
    start = g.input("maps.start", np.array(False), [])

    def previous(x: str) -> str:
        """Return the value before each frame, of values that begin one frame before them."""
        before = g.add("Where", start, g.frames(x, 1, 2), g.frames(x, 0, 1))
        return g.add("Concat", before, g.frames(x, 1, -1), axis=0)

    steps = g.difference(g.frames(compared, 1), g.frames(compared, 0, -1))  # from each frame to the next
    text = _text(g, weights, alone, steps, hints)
    text_logit = _logit(g, text, "text_out", weights)
    here = g.frames(text, 1)
    changed = [*_differences(g, compared, steps), previous(text), here]
    change = _change(g, weights, g.add("Concat", *changed, axis=1), s)
    change_logit = _logit(g, change, "change_out", weights)

    area, text_pool = _pool(g, text_logit, text)
    change_area, change_pool = _pool(g, change_logit, change)
    most = g.add("Max", g.frames(area, 1), previous(area))
    ratio = g.log1p(g.add("Div", change_area, g.add("Add", most, g.number(1))))
    motion = g.add("ReduceMean", _at(g, steps, -1, shorter=1), axes=[2, 3], keepdims=0)
    pooled = g.add("Concat", g.frames(text_pool, 1), change_pool, ratio, motion, axis=1)
    g.output("pooled", pooled, ["n", 2 * (s.head + 4) + 1 + s.compared])


def _at(g: GraphBuilder, x: str, by: int, *, shorter: int = 0, first: int = 0) -> str:
    """Return ``x``, which begins where ``compared`` does, ``by`` frames after each frame from ``first`` on.

    It ends ``shorter`` frames before ``compared`` does.
    """
    return g.frames(x, HALO + 1 + first + by, by + shorter - HALO)


def _text(g: GraphBuilder, weights: Weights, alone: str, steps: str, hints: str) -> str:
    """Return the text head's features of the frames and of the one before them."""
    count = g.add("Slice", g.add("Shape", alone), g.integers(0), g.integers(1))
    planes = g.add("Expand", hints, g.add("Concat", count, g.integers(1, 1, 1), axis=0))
    motion = [_at(g, steps, by, shorter=1, first=-1) for by in (-1, 0)]
    # One convolution over all, with what a frame alone adds as it is: a sum would need another layout.
    mix = len(weights["text_motion.weight"])
    kept = np.eye(mix, dtype=np.float32)[:, :, None, None]
    weight = np.concatenate([weights["text_motion.weight"], kept, weights["text_hints.weight"]], axis=1)
    mixed = g.convolution(g.add("Concat", *motion, alone, planes, axis=1), "text_mix", weight)
    return _block(g, g.add("Relu", mixed), "text_body", weights)


def _differences(g: GraphBuilder, compared: str, steps: str) -> list[str]:
    """Return the differences between frames around each frame; the last one is of sums of three."""
    found = [
        _at(g, steps, one, shorter=1)
        if other == one + 1
        else g.difference(_at(g, compared, other), _at(g, compared, one))
        for one, other in PAIRS
    ]
    sums = g.add("Add", g.frames(compared, 0, -2), g.frames(compared, 1, -1))
    sums = g.add("Add", sums, g.frames(compared, 2))
    found.append(g.difference(_at(g, sums, 0, shorter=2), _at(g, sums, -3, shorter=2)))
    return found


def _change(g: GraphBuilder, weights: Weights, joined: str, s: NetworkSettings) -> str:
    """Return the change head's features."""
    weight = weights["change_mix.0.weight"].copy()
    of_sums = slice(len(PAIRS) * s.compared, (len(PAIRS) + 1) * s.compared)
    weight[:, of_sums] *= np.float32(1 / 3)
    mixed = g.add("Relu", g.convolution(joined, "change_mix", weight, weights["change_mix.0.bias"]))
    return _block(g, mixed, "change_body", weights)


def _logit(g: GraphBuilder, features: str, name: str, weights: Weights) -> str:
    """Return one channel of features, by a matrix product: a convolution computes a block of channels."""
    flat = g.add("Reshape", features, g.integers(0, 0, -1))
    weight = g.constant(f"{name}.weight", weights[f"{name}.weight"].reshape(1, 1, -1))
    logit = g.add("MatMul", weight, flat)
    logit = g.add("Add", logit, g.constant(f"{name}.bias", weights[f"{name}.bias"]))
    cells = g.add("Slice", g.add("Shape", features), g.integers(2), g.integers(4))
    return g.add("Reshape", logit, g.add("Concat", g.integers(0, 1), cells, axis=0))


def _pool(g: GraphBuilder, logit: str, features: str) -> tuple[str, str]:
    """Return the area (n, 1), in cells, and the content of the strongest cells, (n, channels + 4)."""
    cells = g.add("Flatten", logit, axis=1)
    area = g.add("ReduceSum", g.add("Sigmoid", cells), g.integers(1), keepdims=1)
    attention = g.add("Softmax", g.add("Mul", cells, g.number(0.5)), axis=1)
    flat = g.add("Reshape", features, g.integers(0, 0, -1))
    content = g.add("MatMul", flat, g.add("Unsqueeze", attention, g.integers(2)))
    content = g.add("Squeeze", content, g.integers(2))
    smooth = g.add(
        "AveragePool", logit, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1
    )
    smooth = g.add("Flatten", smooth, axis=1)
    highest = [g.add("ReduceMax", x, axes=[1], keepdims=1) for x in (cells, smooth)]
    summed = g.add("ReduceLogSumExp", smooth, axes=[1], keepdims=1)
    figures = g.add("Concat", *highest, summed, g.log1p(area), axis=1)
    return area, g.add("Concat", content, g.add("Mul", figures, g.number(0.5)), axis=1)


def _judge(g: GraphBuilder, weights: Weights) -> None:
    """Add presence and same-text probabilities (2, n) of pooled values (n + 2 · REACH, channels)."""
    channels = weights["temporal.0.weight"].shape[1]
    pooled = g.input("judge.pooled", np.zeros((2 * REACH + 1, channels), np.float32), ["k", channels])
    x = g.add("Unsqueeze", g.add("Transpose", pooled, perm=[1, 0]), g.integers(0))
    for place, dilation in enumerate((*DILATIONS, 1)):
        name = f"temporal.{2 * place}"
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = g.convolution(x, name, weight, bias, dilation=dilation)
        if place < len(DILATIONS):
            x = g.add("Relu", x)
    scale = g.constant("calibration.scale", weights["calibration"][:, :1])
    shift = g.constant("calibration.bias", weights["calibration"][:, 1:])
    x = g.add("Sigmoid", g.add("Add", g.add("Mul", x, scale), shift))
    g.output("probabilities", g.add("Squeeze", x, g.integers(0)), [2, "j"])
