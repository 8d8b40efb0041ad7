"""Presence probabilities of strips, from the energy of their steady strokes."""

import numpy as np

from modal_gpu.extents.strokes.changes import Text
from modal_gpu.extents.strokes.comparisons import Comparisons, logistic, shifted
from modal_gpu.extents.strokes.responses import Block, top_energy
from modal_gpu.extents.strokes.settings import Calibration, Grid

#: Text windows that a pair has at least to be alike: about one character.
_LEAST_WINDOWS = 12
#: Frames of a fade that presence spreads over.
_FADE_FRAMES = 3


def presence_of(seen: Comparisons, text: Text, block: Block, calibration: Calibration) -> Grid:
    """Return the probability that each frame shows a caption, (k,)."""
    one = seen.cosine[0]
    before, after = one.copy(), shifted(one, 1, 0.0)
    before[0] = 0
    steady = np.clip((np.maximum(before, after) - 0.5) / 0.4, 0, 1)
    weighted = seen.energy * (0.4 + 0.6 * steady) * block.geometry.zone
    top = top_energy(np.asarray(weighted, np.float32))
    presence = logistic(4 * np.log(np.maximum(top, 1e-4) / calibration.presence_energy))
    # One frame that lacks the text of both its neighbours is a flash or damage, not a gap.
    around = np.maximum(seen.energy, shifted(seen.energy, -2, 0.0))
    around *= around > block.settings.text_energy
    total = np.maximum(around.sum(axis=(1, 2)), 1e-6)
    bridge = logistic(((around * seen.cosine[1]).sum(axis=(1, 2)) / total - 0.75) / 0.05)
    presence[1:-1] = np.maximum(presence[1:-1], np.minimum(presence[:-2], presence[2:]) * bridge[2:])
    # Fades: a frame too faint to be judged alone shows the caption if it has its neighbour's shape.
    alike = logistic((text.likeness - 0.75) / 0.05) * (text.windows.sum(axis=(1, 2)) >= _LEAST_WINDOWS)
    for _ in range(_FADE_FRAMES):
        from_before = np.zeros_like(presence)
        from_before[1:] = presence[:-1] * alike[1:]
        from_after = np.zeros_like(presence)
        from_after[:-1] = presence[1:] * alike[1:]
        presence = np.maximum(presence, np.maximum(from_before, from_after))
    return presence
