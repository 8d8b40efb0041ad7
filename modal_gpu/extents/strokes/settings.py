"""Settings of the stroke predictor, and what one video's captions look like to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A strip or a stroke response, uint8 (height, width).
Image = NDArray[np.uint8]
#: Values of a grid of windows, or of one for each frame; float32.
Grid = NDArray[np.float32]


@dataclass(frozen=True)
class StrokeSettings:
    """Parameters of the predictor. Sizes are in caption line heights, energies relative to text."""

    #: Line height in pixels that strips are scaled down to; smaller ones stay as they are.
    working_line_height: int = 36
    #: Widest stroke kept, in line heights.
    stroke_width: float = 0.28
    #: Frames held at once.
    block_frames: int = 600
    #: Response (of 255) that compression noise causes.
    noise_floor: float = 6.0
    #: Mean squared response of a window that holds text, relative to full strength.
    text_energy: float = 0.05
    #: A pixel that is a stroke in this share of a block's frames is a logo, in blocks long enough.
    persistent_share: float = 0.85
    persistent_frames: int = 300
    #: Windows below the first cosine have changed; windows above the second one are unchanged.
    changed_cosine: float = 0.6
    standing_cosine: float = 0.8
    #: Windows covered by the smallest change that is detected on a still picture.
    glyph_windows: float = 5.0
    #: Smallest steady difference detected, relative to the strongest text windows, and its windows.
    least_change: float = 0.04
    steady_windows: float = 4.0


@dataclass(frozen=True)
class Calibration:
    """The look of one video's captions. ``strength`` is their top-hat response (of 255)."""

    bright: bool
    strength: float
    #: Energy of the strongest windows at which a caption is as likely as not.
    presence_energy: float
    #: Frames with a caption that this was learned from.
    observed: int = 0
