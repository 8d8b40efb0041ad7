"""Captions and other text as layers over a picture: their style, drawing and compositing."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.fonts import FontFace


@dataclass(frozen=True)
class Style:
    """The look of a video's captions. Sizes are in font sizes, luma is 16 to 235."""

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
    sung: int = 0  # karaoke: luma of the part already sung


@dataclass(frozen=True)
class Layer:
    """Premultiplied luma and opacity, float32 (h, w), over a rectangle of the strip and clipped to it."""

    top: int
    left: int
    luma: np.ndarray
    alpha: np.ndarray
    #: The strokes alone, without box and shadow, float32 (h, w).
    glyphs: np.ndarray
    sung: np.ndarray | None = None

    def onto(self, frame: np.ndarray, opacity: float, progress: float = 0.0) -> None:
        """Composite onto ``frame``, float32; ``progress`` is the share that was already sung."""
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
    """Draw lines of text as a layer. ``baseline`` is the last line's.

    Returns ``None`` if nothing is inside the strip.
    """
    height, width = strip
    margin = int(style.size)
    canvas = (width + 2 * margin, height + 4 * margin)
    placed = _Placed(
        style.face.load(style.size),
        lines,
        [
            (anchor_x * width + margin, baseline + 2 * margin - style.size * style.spacing * above)
            for above in reversed(range(len(lines)))
        ],
        anchor,
    )
    edge = style.outline * style.size
    fill = _mask(placed, canvas, 0)
    strokes = _mask(placed, canvas, edge) if edge >= 0.3 else fill
    ground = _Ground(np.zeros_like(fill), np.zeros_like(fill))
    if style.box:
        ground = ground.under(_box(placed, style, fill.shape), style.box_luma)
    if style.shadow:
        ground = ground.under(_shadow(strokes, style, canvas) * 0.85, 16)
    if edge >= 0.3:
        ground = ground.under(strokes, style.edge)
    drawn = ground.under(fill, style.fill)
    planes = [drawn.luma, drawn.alpha, strokes]
    if style.sung:
        planes.append(ground.luma * (1 - fill) + fill * style.sung)
    if style.softness:
        planes = [cv2.GaussianBlur(plane, (0, 0), style.softness) for plane in planes]
    return _trimmed([plane[2 * margin : 2 * margin + height, margin : margin + width] for plane in planes])


@dataclass(frozen=True)
class _Placed:
    """Lines with the points that they are anchored at, in pixels of the canvas."""

    font: ImageFont.FreeTypeFont
    lines: list[str]
    points: list[tuple[float, float]]
    anchor: str


@dataclass(frozen=True)
class _Ground:
    """Premultiplied luma and opacity of what is drawn so far."""

    luma: np.ndarray
    alpha: np.ndarray

    def under(self, opacity: np.ndarray, value: float) -> "_Ground":
        """Return the result of drawing ``value`` over it with ``opacity``."""
        return _Ground(self.luma * (1 - opacity) + opacity * value, self.alpha * (1 - opacity) + opacity)


def _mask(placed: _Placed, canvas: tuple[int, int], stroke: float) -> np.ndarray:
    """Draw the glyphs with a stroke of this width: float32 (h, w), 0 to 1."""
    mode = {"left": "ls", "center": "ms", "right": "rs"}[placed.anchor]
    image = Image.new("L", canvas)
    pen = ImageDraw.Draw(image)
    for point, line in zip(placed.points, placed.lines, strict=True):
        pen.text(point, line, font=placed.font, fill=255, anchor=mode, stroke_width=stroke)
    return np.asarray(image, np.float32) / 255


def _box(placed: _Placed, style: Style, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the opacity of the box behind the lines, or of one box for each line."""
    box = np.zeros(shape, np.float32)
    pad = 0.3 * style.size
    spans = []
    for (x, _), line in zip(placed.points, placed.lines, strict=True):
        long = placed.font.getlength(line)
        start = x - {"left": 0, "center": 0.5, "right": 1}[placed.anchor] * long
        spans.append((start - pad, start + long + pad))
    if not style.box_per_line:
        spans = [(min(a for a, _ in spans), max(b for _, b in spans))] * len(spans)
    for (a, b), (_, y) in zip(spans, placed.points, strict=True):
        top, bottom = y - style.size * 0.95, y + style.size * max(0.32, style.spacing - 0.95)
        box[max(0, int(top)) : max(0, int(bottom)), max(0, int(a)) : max(0, int(b))] = style.box
    return box


def _shadow(strokes: np.ndarray, style: Style, canvas: tuple[int, int]) -> np.ndarray:
    offset = style.shadow * style.size
    cast = cv2.warpAffine(strokes, np.float32([[1, 0, offset], [0, 1, offset]]), canvas)
    return cv2.GaussianBlur(cast, (0, 0), style.shadow_blur * style.size) if style.shadow_blur else cast


def _trimmed(planes: list[np.ndarray]) -> Layer | None:
    """Crop luma, opacity, strokes and, if given, sung luma to what is visible."""
    rows, columns = np.nonzero(planes[1] > 0.004)
    if not len(rows):
        return None
    top, left = int(rows.min()), int(columns.min())
    cut = (slice(top, int(rows.max()) + 1), slice(left, int(columns.max()) + 1))
    luma, alpha, glyphs, *sung = (np.ascontiguousarray(plane[cut]) for plane in planes)
    return Layer(top, left, luma, alpha, glyphs, sung[0] if sung else None)
