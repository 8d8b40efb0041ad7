"""Learned pair predictor: a small convolutional network over 10 Hz caption strips.

Each strip is encoded once, beside the video's reference picture (what stays in it: logos, bars, a
still background). Light heads look for caption strokes in each frame and for strokes that changed
between frames around each pair, cell by cell; both maps are pooled by their strongest cells, so
that one changed character counts, and a short temporal network judges the pooled values.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from modal_gpu.extents.working_scale import HINT_PLANES

#: Frames compared across the pair (t − 1, t), and on either side of it, as offsets from t.
_PAIRS = ((-1, 0), (-2, 1), (-4, 3), (-7, 6), (-2, -1), (0, 1))
#: Frames on either side of a frame that its maps depend on.
HALO = 8
#: Dilations of the temporal network's layers, and the frames on either side that these reach.
_DILATIONS = (1, 2, 4, 8)
REACH = 2 + sum(_DILATIONS[1:])


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
    #: The first planes of the hints that are used.
    hints: int = HINT_PLANES
    #: Whether convolutions are followed by batch normalisation; otherwise it is part of them: :func:`folded`.
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
        """(n, outputs, h, w) of parts (B, T, h, w, channels), n = B · T."""
        return _relu(self[1](_flat(_pointwise(parts, self[0]))))


def _pointwise(parts: list[Tensor], convolution: nn.Conv2d) -> Tensor:
    """The 1 × 1 ``convolution`` of parts (B, T, h, w, channels) as if joined: (B, T, h, w, outputs)."""
    weight = convolution.weight.flatten(1)
    if parts[0].device.type != "cpu":  # one sum, in half precision too
        return F.linear(torch.cat(parts, dim=-1), weight, convolution.bias)
    # A CPU takes longer to join them than to add up the products of each.
    weights = weight.split([part.shape[-1] for part in parts], dim=1)
    rows = [part.reshape(-1, part.shape[-1]) for part in parts]
    total = F.linear(rows[0], weights[0], convolution.bias)
    for row, piece in zip(rows[1:], weights[1:], strict=True):
        total.addmm_(row, piece.t())
    return total.view(*parts[0].shape[:-1], -1)


def _channels(x: Tensor, count: int) -> Tensor:
    """The first ``count`` of the last axis: :class:`_ConvolutionRelu` gives more."""
    return x if x.shape[-1] == count else x[..., :count]


def _relu(x: Tensor) -> Tensor:
    """ReLU, in place where no gradient is wanted: one through a view changed in place takes much longer."""
    return x.relu() if torch.is_grad_enabled() else x.relu_()


def _flat(x: Tensor) -> Tensor:
    """(B, T, h, w, channels) as (B · T, channels, h, w) in channels-last order, without a copy."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


class _Residual(nn.Module):
    def __init__(self, width: int, normalised: bool) -> None:
        super().__init__()
        self.body = _convolution(width, width, normalised)

    def forward(self, x: Tensor) -> Tensor:
        body = self.body(x)
        return body + x if torch.is_grad_enabled() else body.add_(x)


class ExtentsNetwork(nn.Module):
    """Presence and same-text logits of consecutive strips, in three steps.

    :meth:`encode` is applied to each frame alone, :meth:`maps` to frames with their neighbours,
    :meth:`judge` to the pooled values of frames in order.
    """

    def __init__(self, settings: NetworkSettings | None = None) -> None:
        super().__init__()
        self.settings = s = settings or NetworkSettings()
        #: What pixel values are multiplied by; :func:`fused` makes it part of the first weights.
        self.scale = 1 / 64
        #: For training: 3 × 3 convolutions in bfloat16; differences between frames stay in float32.
        self.mixed_precision = False
        normalised = s.normalised
        self.encoder = nn.Sequential(
            _convolution(2, s.stem, normalised, stride=2),
            _convolution(s.stem, s.width, normalised, stride=2),
            *(_Residual(s.width, normalised) for _ in range(s.blocks)),
        )
        #: What the text head takes of a frame alone, then what frames are compared by.
        self.projection = nn.Conv2d(s.width, s.mix + s.compared, 1)
        self.text_hints = nn.Conv2d(s.hints, s.mix, 1, bias=False)
        self.text_motion = nn.Conv2d(2 * s.compared, s.mix, 1, bias=False)
        self.text_norm = nn.BatchNorm2d(s.mix) if normalised else nn.Identity()
        self.text_body = _convolution(s.mix, s.head, normalised)
        self.text_out = nn.Conv2d(s.head, 1, 1)
        self.change_mix = _PointwiseBlock((len(_PAIRS) + 1) * s.compared + 2 * s.head, s.mix, normalised)
        self.change_body = _convolution(s.mix, s.head, normalised)
        self.change_out = nn.Conv2d(s.head, 1, 1)
        pooled = 2 * (s.head + 4) + 1 + s.compared
        layers: list[nn.Module] = []
        for inputs, dilation in zip((pooled, *[s.temporal] * 3), _DILATIONS, strict=True):
            size = 5 if dilation == 1 else 3
            layers += [nn.Conv1d(inputs, s.temporal, size, dilation=dilation), nn.ReLU()]
        self.temporal = nn.Sequential(*layers, nn.Conv1d(s.temporal, 2, 1))
        #: Scale and bias of the presence and the same logits, fitted on validation clips.
        self.register_buffer("calibration", torch.tensor([[1.0, 0.0], [1.0, 0.0]]))

    def encode(self, strips: Tensor, reference: Tensor) -> Tensor:
        """Features (n, h, w, mix + compared) of strips (n, H, W) beside reference pictures (n or 1, H, W).

        Both hold luma from 0 to 255.
        """
        if isinstance(self.encoder[0], _Stem):
            encoded = self.encoder[1:](self.encoder[0](strips, reference))
        else:
            both = torch.stack([strips, reference.expand_as(strips)], dim=3).to(self.text_out.weight.dtype)
            encoded = self._convolved(self.encoder, (both * self.scale).permute(0, 3, 1, 2))
        return self.projection(encoded).permute(0, 2, 3, 1)

    def _convolved(self, layers: nn.Sequential, x: Tensor) -> Tensor:
        """What ``layers`` make of ``x``; always in its own precision, however they compute."""
        if not self.mixed_precision:
            return layers(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return layers(x).float()

    def maps(
        self, features: Sequence[Tensor], hints: Tensor, first: int = 0, last: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled values (B, n, channels) and text and change logits (B, n, h, w) of frames [first, last).

        ``features`` (B, T, h, w, c), one or more stretches of time, hold the :data:`HALO` frames around
        these as far as there are any; the first and last ones stand in for those beyond them.
        ``hints`` (B, 4, h, w).
        """
        s = self.settings
        batch, time = len(hints), sum(part.shape[1] for part in features)
        last = time if last is None else last
        begin = max(0, first - 1)  # the change into the first frame needs the text of the one before
        before, after = max(0, HALO - begin), max(0, last + HALO - time)
        alone, parts = zip(*(part.split([s.mix, s.compared], dim=-1) for part in features), strict=True)
        compared = torch.cat(
            [parts[0][:, :1].expand(-1, before, -1, -1, -1), *parts,
             parts[-1][:, -1:].expand(-1, after, -1, -1, -1)], dim=1,
        )  # fmt: skip
        compared = compared[:, begin - HALO + before : last + HALO + before]

        def at(x: Tensor, by: int, start: int = begin) -> Tensor:
            """``x``, whose axis 1 begins HALO before ``begin``, ``by`` after each frame of [start, last)."""
            return x[:, HALO + start - begin + by : HALO + last - begin + by]

        steps = _difference(compared[:, 1:], compared[:, :-1])  # steps[i]: i to i + 1
        mixed = _pointwise([at(steps, -1), at(steps, 0)], self.text_motion)
        if len(alone) == 1:
            mixed += alone[0][:, begin:last]
        else:  # of several, each to its frames: joining them would copy all
            passed = -begin
            for part in alone:
                own = slice(max(0, passed), max(0, min(last - begin, passed + part.shape[1])))
                mixed[:, own] += part[:, own.start - passed : own.stop - passed]
                passed += part.shape[1]
        mixed += _pointwise([hints[:, : s.hints].permute(0, 2, 3, 1)], self.text_hints)[:, None]
        text = self._convolved(self.text_body, _relu(self.text_norm(_flat(mixed))))
        text = _channels(text.permute(0, 2, 3, 1).unflatten(0, (batch, last - begin)), s.head)
        text_logit = _pointwise([text], self.text_out)[..., 0]

        means = compared[:, :-2] + compared[:, 1:-1]
        means += compared[:, 2:]
        means *= 1 / 3  # means[i]: i to i + 2
        here = text[:, first - begin :]
        previous = text[:, : last - first] if begin < first else torch.cat([text[:, :1], text[:, :-1]], dim=1)
        differences = [
            at(steps, one, first)
            if other == one + 1
            else _difference(at(compared, other, first), at(compared, one, first))
            for one, other in _PAIRS
        ]
        # Frames i … i + 2 against i - 3 … i - 1.
        differences.append(_difference(at(means, 0, first), at(means, -3, first)))
        change = self._convolved(self.change_body, self.change_mix([*differences, previous, here]))
        change = _channels(change.permute(0, 2, 3, 1).unflatten(0, (batch, last - first)), s.head)
        change_logit = _pointwise([change], self.change_out)[..., 0]

        area, text_pool = _pool(text_logit, text)
        change_area, change_pool = _pool(change_logit, change)
        here = area[:, first - begin :]
        previous = area[:, : last - first] if begin < first else torch.cat([area[:, :1], area[:, :-1]], dim=1)
        ratio = (change_area / (torch.maximum(here, previous) + 1)).log1p()
        motion = at(steps, -1, first).mean(dim=(2, 3))
        pooled = torch.cat([text_pool[:, first - begin :], change_pool, ratio[..., None], motion], dim=2)
        return pooled, text_logit[:, first - begin :], change_logit

    def judge(self, pooled: Tensor) -> Tensor:
        """Presence and same logits (B, 2, T) from pooled values (B, T + 2 · REACH, channels)."""
        logits = self.temporal(pooled.transpose(1, 2))
        return logits * self.calibration[:, :1] + self.calibration[:, 1:]

    def forward(self, strips: Tensor, reference: Tensor, hints: Tensor) -> Outputs:
        """Logits of windows (B, T, H, W) with one reference picture (B, H, W) each."""
        batch, time, height, width = strips.shape
        references = reference[:, None].expand(batch, time, height, width)
        features = self.encode(strips.flatten(0, 1), references.flatten(0, 1))
        pooled, text, change = self.maps([features.unflatten(0, (batch, time))], hints)
        logits = self.judge(with_ends(pooled))
        return Outputs(logits[:, 0], logits[:, 1], text, change)


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """|one − other|."""
    difference = one - other
    return difference.abs() if torch.is_grad_enabled() else difference.abs_()


def with_ends(pooled: Tensor, before: int = REACH, after: int = REACH) -> Tensor:
    """Pooled values (B, T, channels) with the first and the last one repeated beyond the ends."""
    first, last = pooled[:, :1].expand(-1, before, -1), pooled[:, -1:].expand(-1, after, -1)
    return torch.cat([first, pooled, last], dim=1)


def _pool(logit: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Area (B, T), in cells, and what stands in the strongest cells, (B, T, channels + 4)."""
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


class _ConvolutionRelu(nn.Module):
    """A convolution and its ReLU as one operation of oneDNN; for inference on a CPU.

    Gives channels beyond the convolution's own, zeros, up to a multiple of 8: oneDNN's vectors.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        room = -convolution.out_channels % 8
        convolution.weight.data = F.pad(convolution.weight.data, (0, 0, 0, 0, 0, 0, 0, room))
        convolution.bias.data = F.pad(convolution.bias.data, (0, room))
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        c = self.convolution
        return torch.ops.mkldnn._convolution_pointwise(
            x, c.weight, c.bias, c.padding, c.stride, c.dilation, c.groups, "relu", [], ""
        )


class _Stem(nn.Module):
    """The encoder's first convolution, 3 × 3 in steps of 2, for inference on a CPU.

    Four neighbouring pixels are the channels of one, from which and from the one to its left come two
    pixels of the outcome: with one or two input channels oneDNN takes several times as long. What the
    reference picture adds is computed once for all strips.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        outputs = convolution.out_channels
        weight = convolution.weight.data.new_zeros(2, 2, outputs, 4, 3, 2)  # of strip and reference
        for which in range(2):
            kernel = convolution.weight.data[:, which]  # (outputs, 3, 3)
            weight[which, 0, :, 3, :, 0] = kernel[..., 0]
            weight[which, 0, :, :2, :, 1] = kernel[..., 1:].transpose(1, 2)
            weight[which, 1, :, 1:, :, 1] = kernel.transpose(1, 2)
        self.outputs = outputs
        self.strip_weight, self.reference_weight = (
            w.flatten(0, 1).contiguous(memory_format=torch.channels_last) for w in weight
        )
        self.bias = convolution.bias.data.repeat(2)

    def forward(self, strips: Tensor, references: Tensor) -> Tensor:
        """(n, outputs, H / 2, W / 2), channels last, of strips (n, H, W) and references (n or 1, H, W)."""
        about = self._fours(references)
        added = F.conv2d(about, self.reference_weight, self.bias, (2, 1), (1, 0))
        halved = torch.ops.mkldnn._convolution_pointwise.binary(
            self._fours(strips), added.expand(len(strips), -1, -1, -1), self.strip_weight, None,
            [1, 0], [2, 1], [1, 1], 1, "add", 1.0, "relu", [], "",
        )  # fmt: skip
        return _flat(halved.permute(0, 2, 3, 1).unflatten(3, (2, self.outputs)).flatten(2, 3)[:, None])

    def _fours(self, pictures: Tensor) -> Tensor:
        """(n, 4, H, W / 4 + 1), channels last: each row in fours, after one four of zeros."""
        count, height, width = pictures.shape
        room = torch.empty(count, height, width + 4, dtype=self.bias.dtype)
        room[:, :, :4] = 0
        room[:, :, 4:] = pictures
        return room.unflatten(2, (-1, 4)).permute(0, 3, 1, 2)


def folded(network: ExtentsNetwork) -> ExtentsNetwork:
    """The same network with its batch normalisation, as it is in evaluation mode, in the convolutions.

    It can be trained further, in three quarters of the time.
    """
    result = ExtentsNetwork(replace(network.settings, normalised=False))
    normalised = copy.deepcopy(network).eval().requires_grad_(False)
    for module in normalised.modules():
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()
    # The text head's normalisation follows a sum: fold it into each of the terms.
    norm, mix = normalised.text_norm, network.settings.mix
    if isinstance(norm, nn.BatchNorm2d):
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        normalised.text_hints.weight *= factor[:, None, None, None]
        normalised.text_motion.weight *= factor[:, None, None, None]
        normalised.projection.weight[:mix] *= factor[:, None, None, None]
        bias = normalised.projection.bias
        bias[:mix] = bias[:mix] * factor + norm.bias - norm.running_mean * factor
        normalised.text_norm = nn.Identity()
    result.load_state_dict(normalised.state_dict())
    return result.to(normalised.text_out.weight.device, memory_format=torch.channels_last)


def fused(network: ExtentsNetwork, device: torch.device | None = None) -> ExtentsNetwork:
    """A copy of the network for inference, :func:`folded`.

    On a CPU, the default, convolutions are those of oneDNN.
    """
    network = folded(network).eval()
    network.encoder[0][0].weight.data.mul_(network.scale)
    network.scale = 1
    if (device is None or device.type == "cpu") and torch.backends.mkldnn.is_available():
        network.encoder[0] = _Stem(network.encoder[0][0])
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.Sequential and isinstance(
                    child[0], nn.Conv2d
                ):  # a _PointwiseBlock takes parts
                    setattr(module, name, _ConvolutionRelu(child[0]))
    return network
