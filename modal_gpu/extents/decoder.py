"""Decoder from pair probabilities to caption extents: the most probable sequence of frame states.

It is a Viterbi search over two states per frame, empty and caption, with two transitions from caption
to caption: the same one continues, or a new one follows without a gap.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from modal_gpu.extents.predictor import REVERSED_COLUMNS, PairPredictions

_SAME, _DIFFERENT, _EMPTY_EMPTY, _EMPTY_VALID, _VALID_EMPTY = range(5)


@dataclass(frozen=True)
class Extent:
    """A caption's frames, half-open ``[start, end)``, and the confidence in its ends and inside (0 to 1)."""

    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class DecoderSettings:
    """Costs of the search.

    ``floor``: the lowest probability assumed for a label, so that one bad pair cannot outweigh its
    neighbours. ``border_penalty``: log cost of a caption that begins after or ends before an empty frame.

    One caption follows another at a peak of different / (same + different): at ``sure_change`` or more it
    must be two frames from other borders (a cross-fade looks like a caption of one frame between two
    others); otherwise it must be :data:`SPREAD` frames from them, and the peak and its two neighbours must
    sum to ``least_change`` more than is usual around them. The threshold is far below one half: a caption
    cut in two is joined after OCR, because both halves have the same text, but two captions merged into
    one are lost; and where nothing changes, the network is sure of it.
    """

    floor: float = 0.02
    border_penalty: float = 0.8
    least_change: float = 0.2
    sure_change: float = 0.8
    least_different: float = 0.1


#: Settings for the stroke predictor, which is never sure of a change.
STROKES = DecoderSettings(border_penalty=0.4, least_change=0.27, sure_change=0.27)


def settings_for(model_version: str) -> DecoderSettings:
    """Return the settings that suit a model's probabilities."""
    return STROKES if model_version.startswith("strokes") else DecoderSettings()


#: Frames within which uncertain changes are merged.
SPREAD = 3
#: Pairs on either side that a peak is compared with.
_AROUND = 6


def fuse(predictions: PairPredictions) -> NDArray[np.float64]:
    """Return the geometric mean of forward and reversed backward, (n − 1, 5); rows sum to 1."""
    turned = predictions.backward[:, REVERSED_COLUMNS]
    product = np.sqrt(np.maximum(predictions.forward.astype(np.float64), 1e-9) * np.maximum(turned, 1e-9))
    return product / product.sum(axis=1, keepdims=True)


def decode(predictions: PairPredictions, settings: DecoderSettings | None = None) -> list[Extent]:
    """Return the caption extents of a video of ``n`` frames: sorted, disjoint, inside [0, n).

    Only the pair probabilities are used, so that a stored result decodes to the same extents. A video of
    one frame has no pair: its ``presence`` decides.
    """
    settings = settings or DecoderSettings()
    count = predictions.frame_count
    if count == 0:
        return []
    if count == 1:
        presence = float(predictions.presence[0])
        return [Extent(0, 1, presence)] if presence > 0.5 else []

    fused = fuse(predictions)
    visible = _visible(fused, settings)
    begins = visible.copy()
    begins[1:] &= ~visible[:-1] | _follows(fused, visible, settings)
    starts = np.flatnonzero(begins)
    ends = np.empty_like(starts)
    for place, start in enumerate(starts):
        stop = starts[place + 1] if place + 1 < len(starts) else count
        dark = np.flatnonzero(~visible[start:stop])
        ends[place] = start + dark[0] if len(dark) else stop
    return [
        Extent(int(start), int(end), _confidence(fused, visible, int(start), int(end)))
        for start, end in zip(starts, ends, strict=True)
    ]


def _visible(fused: NDArray[np.float64], settings: DecoderSettings) -> NDArray[np.bool_]:
    """Return which frames show a caption, bool (n,), of n − 1 pairs: the cheapest sequence of states."""
    count = len(fused) + 1
    cost = -np.log(np.maximum(fused, settings.floor))
    cost[:, [_EMPTY_VALID, _VALID_EMPTY]] += settings.border_penalty
    stays = np.minimum(cost[:, _SAME], cost[:, _DIFFERENT])

    # Cheapest path to each state; ties keep the state of the frame before.
    to_empty, to_caption = 0.0, 0.0
    from_caption_to_empty = np.empty(count - 1, bool)
    from_caption_to_caption = np.empty(count - 1, bool)
    rows = zip(
        cost[:, _EMPTY_EMPTY].tolist(),
        cost[:, _VALID_EMPTY].tolist(),
        cost[:, _EMPTY_VALID].tolist(),
        stays.tolist(),
        strict=True,
    )
    for pair, (empty_empty, valid_empty, empty_valid, caption_caption) in enumerate(rows):
        leave, enter = to_caption + valid_empty, to_empty + empty_valid
        rest, stand = to_empty + empty_empty, to_caption + caption_caption
        from_caption_to_empty[pair] = leave < rest
        from_caption_to_caption[pair] = stand <= enter
        to_empty, to_caption = min(leave, rest), min(stand, enter)

    visible = np.empty(count, bool)
    visible[-1] = to_caption < to_empty
    for pair in range(count - 2, -1, -1):
        came = from_caption_to_caption if visible[pair + 1] else from_caption_to_empty
        visible[pair] = came[pair]
    return visible


def _follows(
    fused: NDArray[np.float64], visible: NDArray[np.bool_], settings: DecoderSettings
) -> NDArray[np.bool_]:
    """Return the pairs of caption frames, bool (n − 1,), whose second frame begins another caption."""
    inside = visible[:-1] & visible[1:]
    share = fused[:, _DIFFERENT] / np.maximum(fused[:, _SAME] + fused[:, _DIFFERENT], 1e-9)
    # Where the frames are hardly captions, the share means little.
    share = np.where(inside, np.minimum(share, fused[:, _DIFFERENT] / settings.least_different), 0)
    around = np.pad(share, 1)
    mass = around[:-2] + around[1:-1] + around[2:]
    follows = np.zeros(len(share), bool)
    taken = visible[:-1] != visible[1:]
    candidates = np.flatnonzero((mass >= settings.least_change) & (share >= settings.least_change / 3))
    # A share as large in all neighbours is doubt, not a change: take their lower quartile.
    padded = np.pad(np.where(inside, share, np.inf), _AROUND, constant_values=np.inf)
    near = np.sort(sliding_window_view(padded, 2 * _AROUND + 1)[candidates], axis=1)
    quartile = np.maximum(np.isfinite(near).sum(axis=1) - 1, 0) // 4
    doubt = near[np.arange(len(near)), quartile]
    doubt[~np.isfinite(doubt)] = 0
    candidates = candidates[mass[candidates] - 3 * doubt >= settings.least_change]
    # Of equal peaks the middle one.
    height = share + 1e-3 * mass
    for pair in candidates[np.argsort(-height[candidates], kind="stable")].tolist():
        apart = 2 if share[pair] >= settings.sure_change else SPREAD
        if not taken[max(0, pair - apart + 1) : pair + apart].any():
            follows[pair] = taken[pair] = True
    return follows


def _confidence(fused: NDArray[np.float64], visible: NDArray[np.bool_], start: int, end: int) -> float:
    """Return the geometric mean of the probabilities of the start, of the end and of the inside (a mean)."""
    parts = []
    if start > 0:
        parts.append(fused[start - 1, _DIFFERENT if visible[start - 1] else _EMPTY_VALID])
    if end - start > 1:
        parts.append(fused[start : end - 1, _SAME].mean())
    if end < len(visible):
        parts.append(fused[end - 1, _DIFFERENT if visible[end] else _VALID_EMPTY])
    return float(np.exp(np.mean(np.log(np.maximum(parts, 1e-9)))))
