"""Same-text probabilities of neighbouring strips, from the comparison of their windows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.strokes.comparisons import Comparisons, logistic, shifted
from modal_gpu.extents.strokes.responses import top_energy
from modal_gpu.extents.strokes.settings import Grid, StrokeSettings

#: Log-odds of what is ruled out.
_NEVER = -12.0


@dataclass(frozen=True)
class Text:
    """The windows that hold text in either frame of each pair; grids (k, rows, columns)."""

    strongest: Grid
    #: Energy above which a window holds text, (k, 1, 1).
    level: Grid
    windows: NDArray[np.bool_]
    #: Cosine over all text of a pair, by energy: a fading caption keeps it, clutter weighs little. (k,).
    likeness: Grid


def text_of(seen: Comparisons, settings: StrokeSettings) -> Text:
    """Find the text of each frame and the one before it."""
    strongest = np.maximum(seen.energy, shifted(seen.energy, -1, 0.0))
    # Two faint frames (one caption fades out, the next one in) are judged by the strokes that they have.
    level = np.clip(0.2 * top_energy(strongest), 0.15 * settings.text_energy, settings.text_energy)
    level = level[:, None, None]
    windows = strongest > level
    weight = strongest * windows
    total = weight.sum(axis=(1, 2))
    alike = (weight * seen.cosine[0]).sum(axis=(1, 2)) / np.maximum(total, 1e-6)
    return Text(strongest, level, windows, np.where(total > 0, alike, 0).astype(np.float32))


def same_text(seen: Comparisons, text: Text, settings: StrokeSettings) -> Grid:
    """Return the probability that each frame shows the text of the one before it, (k,); 1 for the first."""
    different = np.maximum(_changed_share(seen, text, settings), _steady_change(seen, settings))
    different = np.maximum(different, _fade_between(seen, settings))
    same = logistic(-different)
    same[0] = 1
    return same


def _changed_windows(seen: Comparisons, text: Text, settings: StrokeSettings) -> NDArray[np.bool_]:
    """Return the windows whose text differs from the frame before for good."""
    one, two, three, _ = seen.cosine
    # A frame beside the pair that resembles both bridges the difference: a flash, one damaged frame.
    bridged = np.maximum(shifted(two, 1, 0.0), two)
    bridged[0] = 0
    changed = text.windows & (one < settings.changed_cosine) & (bridged < 0.7)
    # In a cross-fade neighbours stay alike while frames further apart do not: the change is where
    # neighbours are least alike.
    across = shifted(three, 1, 1.0)
    likeness = text.likeness
    lowest = (
        (likeness <= shifted(likeness, -1, 1.0)) & (likeness <= shifted(likeness, 1, 1.0)) & (likeness < 0.92)
    )
    return changed | (lowest[:, None, None] & text.windows & (across < 0.45) & (one < 0.9))


def _changed_share(seen: Comparisons, text: Text, settings: StrokeSettings) -> Grid:
    """Return log-odds of a change, from the share of the text that changed and from how much it is."""
    energy, one = seen.energy, seen.cosine[0]
    changed = _changed_windows(seen, text, settings)
    standing = text.windows & (one > settings.standing_cosine)
    mass = np.minimum(1, text.strongest / (3 * text.level))
    # Text stands still on its side of the pair; moving clutter does not.
    earlier = shifted(energy, -1, 0.0)
    own_side = np.where(earlier >= energy, shifted(one, -1, 0.0), shifted(one, 1, 0.0))
    steady = np.clip((own_side - 0.5) / 0.4, 0, 1)
    # A change counts in the rows that hold the caption's lines, less in rows with hardly any strokes.
    row = ((changed | standing) * mass).sum(axis=2)
    row /= np.maximum(row.max(axis=1, keepdims=True), 1e-3)
    mass = mass * np.clip(row / 0.4, 0, 1)[:, :, None]
    lost = (changed * mass).sum(axis=(1, 2))
    lost_steady = (changed * mass * steady).sum(axis=(1, 2))
    kept = (standing * mass).sum(axis=(1, 2))
    by_share = 14 * (lost / np.maximum(lost + kept, 1e-3) - 0.4)
    by_glyph = 3 * np.log(np.maximum(lost_steady, 1e-3) / settings.glyph_windows)
    moved = np.abs(seen.luma - shifted(seen.luma, -1, 0.0)) > 12
    moving = np.clip((moved.mean(axis=(1, 2)) - 0.2) / 0.4, 0, 1)
    return moving * by_share + (1 - moving) * np.maximum(by_share, by_glyph)


def _steady_change(seen: Comparisons, settings: StrokeSettings) -> Grid:
    """Return log-odds that a part of the text as small as one digit changed for good between t − 1 and t.

    In each window the least difference across the pair (of the four pairs of frames t − 2 … t + 1
    that span it) is compared with the differences on either side of it: text stands still there,
    clutter and noise do not.
    """
    energy, (one, two, three, _) = seen.energy, seen.cosine

    def difference(cosine: Grid, lag: int) -> Grid:
        return (1 - cosine) * 2 * np.maximum(energy, shifted(energy, -lag, 0.0))

    first, second, third = difference(one, 1), difference(two, 2), difference(three, 3)
    across = np.minimum(
        np.minimum(first, second), np.minimum(shifted(second, 1, 0.0), shifted(third, 1, 0.0))
    )
    # Footage of a lower frame rate repeats frames, so one pair on each side is not enough.
    within = np.zeros_like(first)
    for shift in (1, 2, 3):
        np.maximum(within, shifted(first, shift, 0.0), out=within)
        np.maximum(within, shifted(first, -shift, 0.0), out=within)
    strongest = np.maximum(energy, shifted(energy, -1, 0.0))
    reference = np.maximum(top_energy(strongest)[:, None, None], settings.text_energy)
    least = settings.least_change * reference
    excess = (across > least) & (across > 4 * (within + 0.2 * least)) & (strongest > 0.3 * reference)
    return 3 * np.log(np.maximum(excess.sum(axis=(1, 2)), 1e-3) / settings.steady_windows)


def _fade_between(seen: Comparisons, settings: StrokeSettings) -> Grid:
    """Return log-odds that one text fades out and another one in, with t − 1 and t as the faintest pair.

    Neighbours are too alike, or too faint, to be compared; the frames four before and four after are not.
    """
    strength = top_energy(seen.energy)
    pair = np.minimum(strength, shifted(strength, -1, 0.0))
    valley = np.ones(len(pair), bool)
    for shift in range(1, 5):
        valley &= (pair <= shifted(pair, shift, np.inf)) & (pair < shifted(pair, -shift, np.inf))
    before, after = shifted(strength, -4, 0.0), shifted(strength, 4, 0.0)
    valley &= (pair < 0.5 * np.minimum(before, after)) & (np.minimum(before, after) > settings.text_energy)

    weight = np.maximum(shifted(seen.energy, 4, 0.0), shifted(seen.energy, -4, 0.0))
    weight *= weight > 0.3 * np.maximum(before, after)[:, None, None]
    alike = (weight * shifted(seen.cosine[3], 4, 1.0)).sum(axis=(1, 2)) / np.maximum(
        weight.sum(axis=(1, 2)), 1e-6
    )
    return np.where(valley, 14 * (0.7 - alike), _NEVER).astype(np.float32)
