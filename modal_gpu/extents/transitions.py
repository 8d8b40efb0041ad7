"""The transition of a caption's strokes: a step or a ramp (a fade) through the source frames around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

#: Longest fade in seconds, and the cost of each frame of it, in squared shares: steps are preferred.
_LONGEST_FADE = 0.7
_FADE_COST = 0.004
#: Cost of a change in another 10 Hz frame than the labels say, per squared distance in frames.
_AWAY_COST = 0.1
#: Smallest difference of shares between both sides of a change.
_LEAST_RISE = 0.3
#: A cut changes this share of the pixels by more than these luma levels, and more of them than usually change
#: between two pictures. Its cost keeps it from explaining a caption that comes or goes with it.
_CUT_SHARE, _CUT_LEVELS, _CUT_RATIO, _CUT_COST = 0.4, 20, 3.0, 0.05
#: Progress from which a picture inside a step counts as after it.
_STEP_SHARE = 0.4


@dataclass(frozen=True)
class Transition:
    """A step or ramp: 0 up to picture ``start``, 1 from picture ``end`` on.

    ``begins`` is the first picture that shows a coming caption, however faint; ``ends`` the first one
    that no longer shows a going one. For a step both are the same.
    """

    start: int
    end: int
    begins: int
    ends: int


def fitted(
    shares: NDArray[np.float64],
    seconds: NDArray[np.float64],
    places: NDArray[np.float64],
    scenes: NDArray[np.intp],
) -> Transition:
    """Return the step or ramp nearest to ``shares`` that is not far from the pair of labels.

    All are of shape (n,), one value a picture: the progress from one side to the other, about 0 to 1, the
    time, the 10 Hz place relative to the middle of the pair, and the scene (:func:`scenes_of`). If the
    labels are right, the first picture of a step, or one of a ramp, has place 0.5.
    """
    starts, ends = np.triu_indices(len(seconds), 1)
    short = (ends == starts + 1) | (seconds[ends] - seconds[starts] <= _LONGEST_FADE)
    starts, ends = starts[short], ends[short]
    begin, end = seconds[starts][:, None], seconds[ends][:, None]
    ramps = np.clip((seconds - begin) / np.maximum(end - begin, 1e-9), 0, 1)
    plain = _fit(ramps, shares, np.zeros(len(shares), int))
    beside_cuts = _fit(ramps, shares, scenes)
    # A step at the cut itself is likely, a ramp over it is not: that would be two steps.
    over_cut = (scenes[ends] > scenes[starts]) & (ends > starts + 1)
    without, within = plain.misfit + 2 * _CUT_COST * over_cut, beside_cuts.misfit + _CUT_COST
    uses_cuts = (within < without) & bool(scenes[-1])
    misfit = np.where(uses_cuts, within, without) + _FADE_COST * (ends - starts - 1)
    # The labels say in which tenth of a second it is; only strong evidence moves it to another.
    away = np.maximum(0, np.maximum(places[starts + 1] - 0.5, 0.5 - places[ends]))
    misfit += _AWAY_COST * away**2
    best = int(misfit.argmin())
    start, end = int(starts[best]), int(ends[best])
    used = beside_cuts if uses_cuts[best] else plain
    shares = (shares - used.levels[best]) / used.rise[best]
    if end - start < 4:
        # A step, perhaps smeared by the encoder.
        middle = start + int(np.argmax(shares[start : end + 1] > _STEP_SHARE)) if end > start + 1 else end
        return Transition(start, end, middle, middle)
    # A straight line through the inside of the ramp gives its begin and end between pictures.
    slope, offset = np.polyfit(seconds[start + 1 : end], shares[start + 1 : end], 1)
    if slope <= 0:
        return Transition(start, end, start + 1, end)
    empty, full = -offset / slope, (1 - offset) / slope
    begins, ends = np.searchsorted(seconds, [empty, full])
    return Transition(
        start,
        end,
        int(np.clip(begins, start, start + 2)),
        int(np.clip(ends, end - 1, min(end + 1, len(seconds) - 1))),
    )


@dataclass(frozen=True)
class _Fit:
    """Ramps scaled to shares: rises (k,), levels of the pictures without them (k, n), misfits (k,)."""

    rise: NDArray[np.float64]
    levels: NDArray[np.float64]
    misfit: NDArray[np.float64]


def _fit(ramps: NDArray[np.float64], shares: NDArray[np.float64], scenes: NDArray[np.intp]) -> _Fit:
    """Scale each ramp to the shares (n,), with a level of its own in each of the ``scenes`` (n,).

    What moves behind the caption keeps shares away from 0 and 1, except those of the very pictures that a
    side was learned from; and a cut changes them at once.
    """
    centred, rest = ramps.copy(), shares.copy()
    for scene in np.unique(scenes):
        inside = scenes == scene
        centred[:, inside] -= ramps[:, inside].mean(axis=1, keepdims=True)
        rest[inside] -= shares[inside].mean()
    # Not by a matrix product, see ``_shares`` in ``change_times``.
    product = np.einsum("ij,j->i", centred, rest)
    rise = np.clip(product / np.maximum((centred**2).sum(axis=1), 1e-9), _LEAST_RISE, 1.0)
    levels = shares - rest - rise[:, None] * (ramps - centred)
    return _Fit(rise, levels, ((rest - rise[:, None] * centred) ** 2).sum(axis=1))


def scenes_of(lumas: Sequence[NDArray[np.uint8]]) -> NDArray[np.intp]:
    """Return the number of cuts before each picture (n,), which are uint8 (height, width)."""
    steps = [np.asarray(cv2.absdiff(a, b), np.uint8) for a, b in pairwise(lumas)]
    changed = np.array([np.count_nonzero(step > _CUT_LEVELS) / step.size for step in steps])
    cuts = (changed > _CUT_SHARE) & (changed > _CUT_RATIO * np.median(changed))
    return np.concatenate([[0], np.cumsum(cuts)])
