"""The trained pair predictor's network: a small convolutional network over 10 Hz caption strips.

Each strip is encoded once, beside the video's reference picture (what stays in it: logos, bars, a still
background). Light heads look for caption strokes in each frame and for strokes that changed between
frames around each pair, cell by cell. Both maps are pooled by their strongest cells, so that one changed
character counts, and a short temporal network judges the pooled values.

PyTorch trains it and runs it on CUDA. On CPUs ONNX Runtime runs the graph that
:mod:`~modal_gpu.extents.onnx_export` writes of it.
"""

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from modal_gpu.extents.working_scale import HINT_PLANES

#: Frames compared across the pair (t − 1, t), and on either side of it, as offsets from t.
PAIRS = ((-1, 0), (-2, 1), (-4, 3), (-7, 6), (-2, -1), (0, 1))
#: Frames on either side of a frame that its maps depend on.
HALO = 8
#: Dilations of the temporal network's layers, and the frames on either side that these reach.
DILATIONS = (1, 2, 4, 8)
REACH = 2 + sum(DILATIONS[1:])


@dataclass(frozen=True)
class NetworkSettings:
    """Channels of the layers; part of a checkpoint."""

    stem: int = 12
    width: int = 24
    blocks: int = 2
    compared: int = 8
    mix: int = 16
    head: int = 16
    temporal: int = 48
    #: Planes of the hints used, from the first one.
    hints: int = HINT_PLANES
    #: Whether batch normalisation follows the convolutions; :func:`folded` makes it part of them.
    normalised: bool = True


@dataclass
class Outputs:
    """Logits. ``presence`` and ``same`` (B, T); ``same`` compares a frame with the one before it.

    ``text`` and ``change`` (B, T, h, w): caption strokes, and strokes that differ from the frame before.
    """

    presence: Tensor
    same: Tensor
    text: Tensor
    change: Tensor


def _convolution(
    inputs: int, outputs: int, normalised: bool, size: int = 3, stride: int = 1
) -> nn.Sequential:
    """Build a convolution with its normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=not normalised),
        nn.BatchNorm2d(outputs) if normalised else nn.Identity(),
        nn.ReLU(inplace=True),
    )


class _PointwiseBlock(nn.Sequential):
    """A 1 × 1 convolution over parts as if their channels stood side by side; then norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, normalised: bool) -> None:
        super().__init__(*_convolution(inputs, outputs, normalised, size=1))

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Return (B · T, outputs, h, w) of parts (B, T, h, w, channels)."""
        return _relu(self[1](_flat(_pointwise(parts, _first_convolution(self)))))


def _first_convolution(block: nn.Sequential) -> nn.Conv2d:
    """Return the convolution that a block begins with; ``TypeError`` for another block."""
    first = block[0]
    if not isinstance(first, nn.Conv2d):
        raise TypeError(f"a block begins with a convolution, not with {type(first).__name__}")
    return first


def _pointwise(parts: list[Tensor], convolution: nn.Conv2d) -> Tensor:
    """Apply a 1 × 1 convolution to parts (B, T, h, w, channels) as if joined: (B, T, h, w, outputs)."""
    joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
    return F.linear(joined, convolution.weight.flatten(1), convolution.bias)


def _relu(x: Tensor) -> Tensor:
    """Apply ReLU, in place without gradients: with them, through a view, it takes much longer in place."""
    return x.relu() if torch.is_grad_enabled() else x.relu_()


def _flat(x: Tensor) -> Tensor:
    """Return (B, T, h, w, channels) as (B · T, channels, h, w) in channels-last order, without a copy."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def _unflat(x: Tensor, batch: int) -> Tensor:
    """Return (B · T, channels, h, w) as (B, T, h, w, channels): the inverse of :func:`_flat`."""
    x = x.permute(0, 2, 3, 1)
    return x.view(batch, -1, *x.shape[1:])


class _Residual(nn.Module):
    """A convolution block whose input is added to its output."""

    def __init__(self, width: int, normalised: bool) -> None:
        super().__init__()
        self.body = _convolution(width, width, normalised)

    def forward(self, x: Tensor) -> Tensor:
        body: Tensor = self.body(x)
        return body + x if torch.is_grad_enabled() else body.add_(x)


class ExtentsNetwork(nn.Module):
    """Presence and same-text logits of consecutive strips, in three steps.

    :meth:`encode` is applied to each frame alone, :meth:`maps` to frames with their neighbours,
    :meth:`judge` to the pooled values of frames in order.
    """

    def __init__(self, settings: NetworkSettings | None = None) -> None:
        super().__init__()
        self.settings = s = settings or NetworkSettings()
        #: Factor of pixel values; :func:`fused` makes it part of the first weights.
        self.scale = 1 / 64
        #: In training, compute 3 × 3 convolutions in bfloat16; differences between frames stay in float32.
        self.mixed_precision = False
        normalised = s.normalised
        self.encoder = nn.Sequential(
            _convolution(2, s.stem, normalised, stride=2),
            _convolution(s.stem, s.width, normalised, stride=2),
            *(_Residual(s.width, normalised) for _ in range(s.blocks)),
        )
        #: The text head's input from a frame alone, then the features that frames are compared by.
        self.projection = nn.Conv2d(s.width, s.mix + s.compared, 1)
        self.text_hints = nn.Conv2d(s.hints, s.mix, 1, bias=False)
        self.text_motion = nn.Conv2d(2 * s.compared, s.mix, 1, bias=False)
        self.text_norm = nn.BatchNorm2d(s.mix) if normalised else nn.Identity()
        self.text_body = _convolution(s.mix, s.head, normalised)
        self.text_out = nn.Conv2d(s.head, 1, 1)
        self.change_mix = _PointwiseBlock((len(PAIRS) + 1) * s.compared + 2 * s.head, s.mix, normalised)
        self.change_body = _convolution(s.mix, s.head, normalised)
        self.change_out = nn.Conv2d(s.head, 1, 1)
        pooled = 2 * (s.head + 4) + 1 + s.compared
        layers: list[nn.Module] = []
        for inputs, dilation in zip((pooled, *[s.temporal] * 3), DILATIONS, strict=True):
            size = 5 if dilation == 1 else 3
            layers += [nn.Conv1d(inputs, s.temporal, size, dilation=dilation), nn.ReLU()]
        self.temporal = nn.Sequential(*layers, nn.Conv1d(s.temporal, 2, 1))
        #: Scale and bias of the presence and the same logits, fitted on validation clips.
        self.calibration: Tensor
        self.register_buffer("calibration", torch.tensor([[1.0, 0.0], [1.0, 0.0]]))

    def encode(self, strips: Tensor, reference: Tensor) -> Tensor:
        """Return features (n, h, w, mix + compared) of strips (n, H, W) and references (n or 1, H, W).

        Both hold luma from 0 to 255.
        """
        both = torch.stack([strips, reference.expand_as(strips)], dim=3).to(self.text_out.weight.dtype)
        encoded = self._convolved(self.encoder, (both * self.scale).permute(0, 3, 1, 2))
        features: Tensor = self.projection(encoded)
        return features.permute(0, 2, 3, 1)

    @property
    def first_convolution(self) -> nn.Conv2d:
        """The encoder's first convolution, over pixels."""
        stem = self.encoder[0]
        if not isinstance(stem, nn.Sequential):
            raise TypeError("the encoder begins with a block")
        return _first_convolution(stem)

    def _convolved(self, layers: nn.Sequential, x: Tensor) -> Tensor:
        """Apply ``layers``; the result has their own precision, whatever they compute in."""
        result: Tensor
        if not self.mixed_precision:
            result = layers(x)
            return result
        with torch.autocast(x.device.type, torch.bfloat16):
            result = layers(x)
            return result.float()

    def maps(
        self, features: Tensor, hints: Tensor, first: int = 0, last: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return pooled values (B, n, channels) and text and change logits (B, n, h, w).

        These are of frames [first, last). ``features`` (B, T, h, w, c) hold the :data:`HALO` frames around
        them as far as there are any; the first and last ones stand in for those beyond them. ``hints``
        (B, 4, h, w).
        """
        last = features.shape[1] if last is None else last
        begin = max(0, first - 1)  # the change into the first frame needs the text of the one before
        skip = first - begin
        alone, shared = torch.split(features, [self.settings.mix, self.settings.compared], dim=-1)
        compared = _Compared(shared, begin, last)
        text = self._text(alone[:, begin:last], compared, hints)
        text_logit = _pointwise([text], self.text_out)[..., 0]
        change = self._change(text, compared, skip)
        change_logit = _pointwise([change], self.change_out)[..., 0]

        area, text_pool = _pool(text_logit, text)
        change_area, change_pool = _pool(change_logit, change)
        most = torch.maximum(area[:, skip:], _previous(area, skip))
        ratio = (change_area / (most + 1)).log1p()
        motion = compared.at(compared.steps, -1, skip).mean(dim=(2, 3))
        pooled = torch.cat([text_pool[:, skip:], change_pool, ratio[..., None], motion], dim=2)
        return pooled, text_logit[:, skip:], change_logit

    def _text(self, alone: Tensor, compared: "_Compared", hints: Tensor) -> Tensor:
        """Return the text head's features (B, n, h, w, head) of frames."""
        steps = compared.steps
        mixed = _pointwise([compared.at(steps, -1), compared.at(steps, 0)], self.text_motion)
        mixed += alone
        planes = hints[:, : self.settings.hints].permute(0, 2, 3, 1)
        mixed += _pointwise([planes], self.text_hints)[:, None]
        text = self._convolved(self.text_body, _relu(self.text_norm(_flat(mixed))))
        return _unflat(text, len(hints))

    def _change(self, text: Tensor, compared: "_Compared", skip: int) -> Tensor:
        """Return the change head's features (B, n, h, w, head); ``text`` has ``skip`` frames more before."""
        differences = [compared.difference(one, other, skip) for one, other in PAIRS]
        differences.append(compared.difference_of_means(skip))
        mixed = self.change_mix([*differences, _previous(text, skip), text[:, skip:]])
        return _unflat(self._convolved(self.change_body, mixed), len(text))

    def judge(self, pooled: Tensor) -> Tensor:
        """Return presence and same logits (B, 2, T) of pooled values (B, T + 2 · REACH, channels)."""
        logits: Tensor = self.temporal(pooled.transpose(1, 2))
        return logits * self.calibration[:, :1] + self.calibration[:, 1:]

    def forward(self, strips: Tensor, reference: Tensor, hints: Tensor) -> Outputs:
        """Return the logits of windows (B, T, H, W) with one reference picture (B, H, W) each."""
        batch, time, height, width = strips.shape
        references = reference[:, None].expand(batch, time, height, width)
        features = self.encode(strips.flatten(0, 1), references.flatten(0, 1))
        pooled, text, change = self.maps(features.reshape(batch, time, *features.shape[1:]), hints)
        logits = self.judge(with_ends(pooled))
        return Outputs(logits[:, 0], logits[:, 1], text, change)


class _Compared:
    """The compared features of frames, with :data:`HALO` frames on either side of them."""

    def __init__(self, features: Tensor, begin: int, last: int) -> None:
        """``features`` (B, T, h, w, c); the frames are [begin, last) of them."""
        before, after = max(0, HALO - begin), max(0, last + HALO - features.shape[1])
        values = torch.cat(
            [features[:, :1].expand(-1, before, -1, -1, -1), features,
             features[:, -1:].expand(-1, after, -1, -1, -1)], dim=1,
        )  # fmt: skip
        self._count = last - begin
        self.values = values[:, begin - HALO + before : last + HALO + before]
        #: From each frame to the next one.
        self.steps = _difference(self.values[:, 1:], self.values[:, :-1])

    def at(self, x: Tensor, by: int, skip: int = 0) -> Tensor:
        """Return ``x``, aligned with ``values``, ``by`` frames after each frame from ``skip`` on."""
        return x[:, HALO + skip + by : HALO + self._count + by]

    def difference(self, one: int, other: int, skip: int) -> Tensor:
        """Return the difference between the frames ``one`` and ``other`` after each frame."""
        if other == one + 1:
            return self.at(self.steps, one, skip)
        return _difference(self.at(self.values, other, skip), self.at(self.values, one, skip))

    def difference_of_means(self, skip: int) -> Tensor:
        """Return the difference between the means of frames i … i + 2 and of i - 3 … i - 1."""
        means = self.values[:, :-2] + self.values[:, 1:-1]
        means += self.values[:, 2:]
        means *= 1 / 3
        return _difference(self.at(means, 0, skip), self.at(means, -3, skip))


def _previous(x: Tensor, skip: int) -> Tensor:
    """Return the value before each one of ``x`` from ``skip`` (0 or 1) on; nothing is before the first."""
    return x[:, :-1] if skip else torch.cat([x[:, :1], x[:, :-1]], dim=1)


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """Return |one − other|."""
    difference = one - other
    return difference.abs() if torch.is_grad_enabled() else difference.abs_()


def with_ends(pooled: Tensor, before: int = REACH, after: int = REACH) -> Tensor:
    """Repeat the first and the last of pooled values (B, T, channels) beyond the ends."""
    first, last = pooled[:, :1].expand(-1, before, -1), pooled[:, -1:].expand(-1, after, -1)
    return torch.cat([first, pooled, last], dim=1)


def _pool(logit: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the area (B, T), in cells, and the content of the strongest cells, (B, T, channels + 4)."""
    cells = logit.flatten(2)
    area = cells.sigmoid().sum(dim=2)
    attention = (cells * 0.5).softmax(dim=2)
    content = torch.bmm(attention.flatten(0, 1)[:, None], features.flatten(0, 1).flatten(1, 2))
    content = content.view(*cells.shape[:2], -1)
    # A character covers several cells: their mean is steadier than the strongest one.
    smooth = F.avg_pool2d(logit, 3, stride=2, padding=1).flatten(2)
    figures = torch.stack(
        [cells.amax(dim=2), smooth.amax(dim=2), torch.logsumexp(smooth, dim=2), area.log1p()], dim=2
    )
    return area, torch.cat([content, figures * 0.5], dim=2)


def folded(network: ExtentsNetwork) -> ExtentsNetwork:
    """Return the network with its batch normalisation, in evaluation mode, folded into its convolutions.

    It can be trained further, in three quarters of the time.
    """
    result = ExtentsNetwork(replace(network.settings, normalised=False))
    normalised = copy.deepcopy(network).eval().requires_grad_(False)
    for module in normalised.modules():
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            module[0] = fuse_conv_bn_eval(_first_convolution(module), module[1])
            module[1] = nn.Identity()
    # The text head's normalisation follows a sum: fold it into each of the terms.
    norm, mix = normalised.text_norm, network.settings.mix
    if isinstance(norm, nn.BatchNorm2d):
        mean, variance, projection = norm.running_mean, norm.running_var, normalised.projection
        if mean is None or variance is None or projection.bias is None:
            raise ValueError("a network without running statistics cannot be folded")
        factor = norm.weight / (variance + norm.eps).sqrt()
        normalised.text_hints.weight *= factor[:, None, None, None]
        normalised.text_motion.weight *= factor[:, None, None, None]
        projection.weight[:mix] *= factor[:, None, None, None]
        projection.bias[:mix] = projection.bias[:mix] * factor + norm.bias - mean * factor
        normalised.text_norm = nn.Identity()
    result.load_state_dict(normalised.state_dict())
    result.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return result.to(normalised.text_out.weight.device)


def fused(network: ExtentsNetwork) -> ExtentsNetwork:
    """Return a copy of the network for inference: :func:`folded`, with :attr:`scale` in its weights."""
    network = folded(network).eval()
    network.first_convolution.weight.data.mul_(network.scale)
    network.scale = 1
    return network
