"""Learned pair predictor: a small convolutional network over 10 Hz caption strips.

Each strip is encoded once, beside the video's reference picture (what stays in it: logos, bars, a
still background). Light heads look for caption strokes in each frame and for strokes that changed
between frames around each pair, cell by cell; both maps are pooled by their strongest cells, so
that one changed character counts, and a short temporal network judges the pooled values.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from modal_gpu.extents.predictor import PairBatch, StripFrame, StripHints
from modal_gpu.extents.working_scale import (
    HINT_PLANES,
    hint_planes,
    padded,
    reference_picture,
    scaled,
    working_size,
)

#: Frames that a prediction may depend on, before and after it.
CONTEXT = 8
#: Frame distances compared across the pair (t − 1, t), as offsets from t, and on either side of it.
_PAIRS = ((-1, 0), (-2, 0), (-1, 1), (-2, 1), (-4, 3), (-2, -1), (0, 1))


@dataclass(frozen=True)
class NetworkSettings:
    """Channels of the layers; part of a checkpoint."""

    stem: int = 16
    width: int = 32
    blocks: int = 2
    compared: int = 8
    head: int = 12
    temporal: int = 48
    #: The first planes of the hints that are used.
    hints: int = HINT_PLANES


@dataclass
class Outputs:
    """Logits. ``presence`` and ``same`` (B, T); ``same`` compares a frame with the one before it.

    ``text`` and ``change`` (B, T, h, w): caption strokes, and strokes that differ from the frame before.
    """

    presence: Tensor
    same: Tensor
    text: Tensor
    change: Tensor


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = _convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ExtentsNetwork(nn.Module):
    """Presence and same-text logits of consecutive strips.

    :meth:`encode` is applied to each frame alone, :meth:`judge` to the features of frames in order.
    """

    def __init__(self, settings: NetworkSettings | None = None) -> None:
        super().__init__()
        self.settings = s = settings or NetworkSettings()
        self.encoder = nn.Sequential(
            _convolution(2, s.stem, stride=2),
            _convolution(s.stem, s.width, stride=2),
            *(_Residual(s.width) for _ in range(s.blocks)),
        )
        self.compared = nn.Conv2d(s.width, s.compared, 1)
        self.text_mix = _convolution(s.width + 2 * s.compared + s.hints, s.width, 1)
        self.text_body = _convolution(s.width, s.head)
        self.text_out = nn.Conv2d(s.head, 1, 1)
        self.change_mix = _convolution(len(_PAIRS) * s.compared + 2 * s.head, s.width, 1)
        self.change_body = _convolution(s.width, s.head)
        self.change_out = nn.Conv2d(s.head, 1, 1)
        pooled = 2 * (s.head + 4) + 1 + s.compared
        self.temporal = nn.Sequential(
            nn.Conv1d(pooled, s.temporal, 5, padding=2, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv1d(s.temporal, s.temporal, 3, padding=2, dilation=2, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv1d(s.temporal, 2, 1),
        )
        #: Scale and bias of the presence and the same logits, fitted on validation clips.
        self.register_buffer("calibration", torch.tensor([[1.0, 0.0], [1.0, 0.0]]))

    def encode(self, strips: Tensor, reference: Tensor) -> Tensor:
        """Features (n, h, w, width) of strips (n, H, W) and reference pictures (n or 1, H, W), 0 to 255."""
        both = torch.stack([strips, reference.expand_as(strips)], dim=1)
        both = (both.to(self.text_out.weight.dtype) - 126) * (1 / 64)
        return self.encoder(both.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)

    def judge(self, features: Tensor, hints: Tensor) -> Outputs:
        """Logits from features (B, T, h, w, width) and hint planes (B, 4, h, w)."""
        batch, time, rows, columns, _ = features.shape

        def flat(*pieces: Tensor) -> Tensor:
            """(B · T, channels, h, w) in channels-last order, without a copy of a single piece."""
            x = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=4)
            return x.flatten(0, 1).permute(0, 3, 1, 2)

        def deep(x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1).unflatten(0, (batch, time))

        def shifted(x: Tensor, by: int) -> Tensor:
            """``result[t] = x[t + by]``; the first and last frames stand in for those beyond them."""
            places = torch.arange(by, time + by, device=x.device).clamp(0, time - 1)
            return x.index_select(1, places) if by else x

        compared = deep(self.compared(flat(features)))
        # How each frame differs from the one so many frames before.
        by_lag = {lag: (compared - shifted(compared, -lag)).abs() for lag in (1, 2, 3, 7)}
        differences = [shifted(by_lag[other - one], other) for one, other in _PAIRS]
        planes = hints[:, : self.settings.hints].permute(0, 2, 3, 1)[:, None].expand(batch, time, -1, -1, -1)
        mixed = self.text_mix(flat(features, by_lag[1], shifted(by_lag[1], 1), planes))
        text = self.text_body(mixed)
        text_logit = self.text_out(text).view(batch, time, rows, columns)
        text = deep(text)

        mixed = self.change_mix(flat(*differences, shifted(text, -1), text))
        change = self.change_body(mixed)
        change_logit = self.change_out(change).view(batch, time, rows, columns)

        text_area, text_pool = _pool(text_logit, text)
        change_area, change_pool = _pool(change_logit, deep(change))
        both_area = torch.maximum(text_area, shifted(text_area, -1))
        ratio = (change_area / (both_area + 1)).log1p()
        pooled = torch.cat([text_pool, change_pool, ratio[..., None], by_lag[1].mean(dim=(2, 3))], dim=2)
        logits = self.temporal(pooled.transpose(1, 2))
        logits = logits * self.calibration[:, :1] + self.calibration[:, 1:]
        return Outputs(logits[:, 0], logits[:, 1], text_logit, change_logit)

    def forward(self, strips: Tensor, reference: Tensor, hints: Tensor) -> Outputs:
        """Logits of windows (B, T, H, W) with one reference picture (B, H, W) each."""
        batch, time, height, width = strips.shape
        references = reference[:, None].expand(batch, time, height, width)
        features = self.encode(strips.flatten(0, 1), references.flatten(0, 1))
        return self.judge(features.unflatten(0, (batch, time)), hints)


def _pool(logit: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Area (B, T), in cells, and what stands in the strongest cells, (B, T, channels + 4)."""
    cells = logit.flatten(2)
    area = cells.sigmoid().sum(dim=2)
    attention = (cells * 0.5).softmax(dim=2)
    content = torch.einsum("btn,btnc->btc", attention, features.flatten(2, 3))
    # A character covers several cells: their mean is steadier than the strongest one.
    smooth = F.avg_pool2d(logit, 3, stride=2, padding=1).flatten(2)
    figures = torch.stack(
        [cells.amax(dim=2), smooth.amax(dim=2), torch.logsumexp(smooth, dim=2), area.log1p()], dim=2
    )
    return area, torch.cat([content, figures * 0.5], dim=2)


def fused(network: ExtentsNetwork) -> ExtentsNetwork:
    """The network for inference, batch normalisation folded into the convolutions, in place."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()
    return network.to(memory_format=torch.channels_last)


class NetworkPredictor:
    """:class:`~modal_gpu.extents.predictor.PairPredictor` around a trained network.

    Holds about a minute of working strips: the reference picture is their median. On a CPU it
    computes in float32 and is deterministic; on CUDA in bfloat16 or, on older ones, float16.
    """

    def __init__(
        self,
        network: ExtentsNetwork,
        model_version: str,
        model_sha256: str,
        *,
        device: str | None = None,
        batch_frames: int = 32,
        block_frames: int = 600,
    ) -> None:
        self.model_version = model_version
        self.model_sha256 = model_sha256
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = torch.float32
        if self.device.type == "cuda":
            self.dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        self._network = fused(network).to(self.device, self.dtype)
        self._batch = batch_frames
        self._block = block_frames

    def predict(self, frames: Iterable[StripFrame], hints: StripHints) -> Iterator[PairBatch]:
        """Predict strips of one size that come in index order from 0.

        Raises ``ValueError`` when an index is missing or a strip differs in size.
        """
        strips = _working_strips(frames, hints)
        held: list[NDArray[np.uint8]] = []
        samples: list[NDArray[np.uint8]] = []
        start = 0  # index of the first frame without a prediction
        planes: Tensor | None = None
        while True:
            behind = min(start, CONTEXT)
            wanted = behind + self._block + CONTEXT
            for strip, size in itertools.islice(strips, wanted - len(held)):
                held.append(strip)
                if planes is None:
                    planes = torch.from_numpy(hint_planes(size, hints)).to(self.device, self.dtype)[None]
            last = len(held) < wanted
            fresh = len(held) - behind - (0 if last else CONTEXT)
            if fresh <= 0 or planes is None:
                return
            step = max(1, self._block // 30)
            samples = (samples + held[behind : behind + fresh : max(1, min(step, fresh // 16))])[-31:]
            presence, same = self._block_predictions(held, reference_picture(samples), planes)
            yield PairBatch(start, presence[behind : behind + fresh], same[behind : behind + fresh])
            start += fresh
            if last:
                return
            held = held[behind + fresh - CONTEXT :]

    @torch.inference_mode()
    def _block_predictions(
        self, strips: list[NDArray[np.uint8]], reference: NDArray[np.uint8], planes: Tensor
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Presence and same-text probability of every strip, float32; batches share their features."""
        background = torch.from_numpy(reference).to(self.device)[None]
        presence, same = [], []
        features: Tensor | None = None
        first = 0  # index of the first frame of ``features``
        done = 0
        for begin in range(0, len(strips), self._batch):
            pictures = torch.from_numpy(np.stack(strips[begin : begin + self._batch])).to(self.device)
            encoded = self._network.encode(pictures, background)
            features = encoded if features is None else torch.cat([features, encoded])
            end = begin + len(pictures)
            certain = end if end == len(strips) else end - CONTEXT
            if certain <= done:
                continue
            logits = self._network.judge(features[None], planes)
            presence.append(logits.presence[0, done - first : certain - first].float().sigmoid().cpu())
            same.append(logits.same[0, done - first : certain - first].float().sigmoid().cpu())
            done = certain
            keep = max(first, done - CONTEXT)
            features, first = features[keep - first :], keep
        return torch.cat(presence).numpy(), torch.cat(same).numpy()


def _working_strips(
    frames: Iterable[StripFrame], hints: StripHints
) -> Iterator[tuple[NDArray[np.uint8], tuple[int, int]]]:
    """Padded working strips and their size without padding; repeated frames are scaled once."""
    shape: tuple[int, ...] | None = None
    size = (0, 0)
    for expected, frame in enumerate(frames):
        luma = frame.luma
        if frame.index != expected:
            raise ValueError(f"strip {frame.index} came where {expected} was expected")
        if shape is None:
            shape, size = luma.shape, working_size(*luma.shape, hints.line_height)
        elif luma.shape != shape:
            raise ValueError(f"strip {frame.index} is {luma.shape}, the ones before are {shape}")
        yield padded(scaled(luma, size)), size
