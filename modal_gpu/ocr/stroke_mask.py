"""A caption line's strokes in black on white: the pictures that Tesseract reads well.

Tesseract was made for scanned pages. From a caption over a picture it reads nearly nothing, because it
takes the picture for characters.
"""

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
_Plane = npt.NDArray[np.float32]

#: Height of a line in the result, in pixels, and the white margin around it.
LINE_HEIGHT, MARGIN = 96, 24
#: Widest stroke, in line heights.
_STROKE = 0.28
#: Largest distances of a pixel from the strokes' own colour (CIE L*a*b*, 8 bits a channel). A narrow one
#: removes a picture that is nearly as bright as the letters, a wide one keeps faint dots and accents. On
#: captions in six scripts each of the three is the best for some lines.
COLOUR_DISTANCES = (15.0, 30.0, 75.0)
#: Bright and dark shapes may both be the letters if the weaker has at least this share of the contrast.
_AMBIGUOUS = 0.75
#: Smallest brightness over the surroundings, as a share of the strokes' own.
_CONTRAST = 0.5
#: Parts with a smaller area are specks: the square of this share of the line's height.
_SPECK = 0.012


def stroke_pictures(line: Picture) -> list[Picture]:
    """Return a line's strokes, black on white (uint8, H × W), one picture a colour distance.

    ``line`` is its picture (uint8 RGB, H × W × 3). Strokes are thin shapes of one colour that are brighter
    or darker than what is around them; where both may be the letters, or their outline, there are pictures
    of both. Empty without such shapes.
    """
    factor = LINE_HEIGHT / line.shape[0]
    large = np.asarray(cv2.resize(line, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)
    lab = np.asarray(cv2.cvtColor(large, cv2.COLOR_RGB2LAB), np.float32)
    light = np.asarray(lab[..., 0], np.uint8)
    bright, dark = _top_hat(light), _top_hat(np.asarray(255 - light, np.uint8))
    contrasts = [float(np.percentile(strength, 95)) for strength in (bright, dark)]
    least = _AMBIGUOUS * max(contrasts)
    chosen = [s for s, contrast in zip((bright, dark), contrasts, strict=True) if contrast >= least]
    return [picture for strength in chosen for picture in _pictures(lab, strength)]


def _pictures(lab: _Plane, strength: Picture) -> list[Picture]:
    threshold, _ = cv2.threshold(strength, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    strong = strength > threshold
    if not strong.any():
        return []
    core = strength >= np.percentile(strength[strong], 60)
    level = float(np.median(strength[core]))
    distance = np.linalg.norm(lab - np.median(lab[core], axis=0), axis=2).astype(np.float32)
    relative = np.clip(strength / level, 0, 1).astype(np.float32)
    return [_drawn(relative, distance, widest) for widest in COLOUR_DISTANCES]


def _top_hat(light: Picture) -> Picture:
    """Return how much brighter each pixel is than its surroundings, in shapes not wider than a stroke."""
    size = 2 * round(_STROKE * LINE_HEIGHT / 2) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.morphologyEx(light, cv2.MORPH_TOPHAT, kernel), np.uint8)


def _drawn(relative: _Plane, distance: _Plane, widest: float) -> Picture:
    """Draw the strokes with soft edges, and a margin around them."""
    mask = ((relative > _CONTRAST) & (distance < widest)).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] >= (_SPECK * LINE_HEIGHT) ** 2
    kept[0] = False
    near = cv2.dilate(kept[labels].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    colour = np.clip((1.6 - distance / widest) / 0.6, 0, 1)
    ink = np.where(near, relative * colour, 0)
    page = np.asarray(255 * (1 - ink), np.uint8)
    framed = cv2.copyMakeBorder(page, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=(255,))
    return np.asarray(framed, np.uint8)
