"""Captions and other text as layers over a picture: how they look, and how they are laid over it."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from training.fonts import FontFace


@dataclass(frozen=True)
class Style:
    """How a video's captions look; sizes in font sizes, luma 16 to 235."""

    face: FontFace
    size: float
    fill: int
    edge: int
    outline: float = 0.0
    shadow: float = 0.0
    shadow_blur: float = 0.0
    box: float = 0.0  # opacity
    box_luma: int = 16
    box_per_line: bool = False
    softness: float = 0.0
    spacing: float = 1.25
    sung: int = 0  # karaoke: luma of what was sung


@dataclass(frozen=True)
class Layer:
    """Premultiplied luma and opacity, float32 (h, w), over a rectangle of the strip; clipped to it."""

    top: int
    left: int
    luma: np.ndarray
    alpha: np.ndarray
    #: Strokes without box or shadow, float32 (h, w).
    glyphs: np.ndarray
    sung: np.ndarray | None = None

    def onto(self, frame: np.ndarray, opacity: float, progress: float = 0.0) -> None:
        """Lay over ``frame``, float32; ``progress`` is the share that was sung."""
        height, width = self.alpha.shape
        luma = self.luma
        if self.sung is not None and progress > 0:
            luma = luma.copy()
            until = int(width * progress)
            luma[:, :until] = self.sung[:, :until]
        view = frame[self.top : self.top + height, self.left : self.left + width]
        view *= 1 - self.alpha * opacity
        view += luma * opacity


def draw(
    lines: list[str], style: Style, strip: tuple[int, int], baseline: float, anchor: str, anchor_x: float
) -> Layer | None:
    """Text lines as a layer; ``baseline`` is the last line's. ``None`` if nothing is inside the strip."""
    height, width = strip
    font = style.face.load(style.size)
    edge = style.outline * style.size
    margin = int(style.size)
    mode = {"left": "ls", "center": "ms", "right": "rs"}[anchor]
    canvas = (width + 2 * margin, height + 4 * margin)
    at = [
        (anchor_x * width + margin, baseline + 2 * margin - style.size * style.spacing * above)
        for above in reversed(range(len(lines)))
    ]

    def mask(stroke: float) -> np.ndarray:
        image = Image.new("L", canvas)
        pen = ImageDraw.Draw(image)
        for place, line in zip(at, lines, strict=True):
            pen.text(place, line, font=font, fill=255, anchor=mode, stroke_width=stroke)
        return np.asarray(image, np.float32) / 255

    fill = mask(0)
    strokes = mask(edge) if edge >= 0.3 else fill
    alpha, luma = np.zeros_like(fill), np.zeros_like(fill)

    def over(opacity: np.ndarray, value: float) -> None:
        nonlocal alpha, luma
        luma = luma * (1 - opacity) + opacity * value
        alpha = alpha * (1 - opacity) + opacity

    if style.box:
        box = np.zeros_like(fill)
        pad = 0.3 * style.size
        places = [place[1] for place in at]
        spans = []
        for (x, _), line in zip(at, lines, strict=True):
            long = font.getlength(line)
            start = x - {"left": 0, "center": 0.5, "right": 1}[anchor] * long
            spans.append((start - pad, start + long + pad))
        if not style.box_per_line:
            spans = [(min(a for a, _ in spans), max(b for _, b in spans))] * len(spans)
        for (a, b), y in zip(spans, places, strict=True):
            top, bottom = y - style.size * 0.95, y + style.size * max(0.32, style.spacing - 0.95)
            box[max(0, int(top)) : max(0, int(bottom)), max(0, int(a)) : max(0, int(b))] = style.box
        over(box, style.box_luma)
    if style.shadow:
        offset = style.shadow * style.size
        cast = cv2.warpAffine(strokes, np.float32([[1, 0, offset], [0, 1, offset]]), canvas)
        if style.shadow_blur:
            cast = cv2.GaussianBlur(cast, (0, 0), style.shadow_blur * style.size)
        over(cast * 0.85, 16)
    if edge >= 0.3:
        over(strokes, style.edge)
    unsung = luma
    over(fill, style.fill)
    sung = None
    if style.sung:
        sung = unsung * (1 - fill) + fill * style.sung
    planes = [luma, alpha, strokes] + ([sung] if sung is not None else [])
    if style.softness:
        planes = [cv2.GaussianBlur(plane, (0, 0), style.softness) for plane in planes]
    planes = [plane[2 * margin : 2 * margin + height, margin : margin + width] for plane in planes]
    rows, columns = np.nonzero(planes[1] > 0.004)
    if not len(rows):
        return None
    top, left = int(rows.min()), int(columns.min())
    cut = (slice(top, int(rows.max()) + 1), slice(left, int(columns.max()) + 1))
    planes = [np.ascontiguousarray(plane[cut]) for plane in planes]
    return Layer(top, left, planes[0], planes[1], planes[2], planes[3] if sung is not None else None)
