"""The drawing of a situation: footage, text and codec. The same situation gives the same frames."""

import importlib.util
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from benchmarks.situations.model import Drawn, Look, Shot, Situation
from captionacc_dagster.demo.video import write_video

Frame = npt.NDArray[np.uint8]

#: Pinned packages of the ``dev`` extra that bring a font, by its name here. ``cjk`` also has Cyrillic, Hangul
#: and music notes, but of Latin letters those of western Europe and Vietnam only.
_FONT_PACKAGES = {
    "cjk": "noto_cjk_sans_jp_regular",
    "latin": "fontpkg_arimo",
    "arabic": "fontpkg_noto_sans_arabic",
    "devanagari": "fontpkg_noto_sans_devanagari",
    "thai": "fontpkg_noto_sans_thai",
}
_LINE_SPACING = 1.28
#: Enlargement of a picture that is panned.
_PANNED = 1.6
#: Frames of a file that are kept in memory.
_MOST_FRAMES = 240


class MissingGlyphError(ValueError):
    """A text has characters that its font lacks: they would be drawn as boxes."""


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font at ``size`` pixels. Raises ``FileNotFoundError`` where its package is not installed."""
    if name == "aileron":
        loaded = ImageFont.load_default(size)
        assert isinstance(loaded, ImageFont.FreeTypeFont)
        return loaded
    return ImageFont.truetype(str(_font_file(name)), size)


def _font_file(name: str) -> Path:
    package = importlib.util.find_spec(_FONT_PACKAGES[name])
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError(f"the font package {_FONT_PACKAGES[name]} is missing: install the extra dev")
    folder = Path(next(iter(package.submodule_search_locations)))
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".otf", ".ttf")]
    return next(path for path in files if "Italic" not in path.name)


@cache
def glyphs(name: str) -> frozenset[str]:
    """Return the characters that a font can draw."""
    from fontTools.ttLib import TTFont

    source = io.BytesIO(font(name, 10).font_bytes) if name == "aileron" else _font_file(name)
    with TTFont(source, lazy=True) as file:
        return frozenset(map(chr, file.getBestCmap()))


def check_glyphs(text: str, name: str) -> None:
    """Raise :class:`MissingGlyphError` if a font lacks a character of a text."""
    if missing := {character for character in text if not character.isspace()} - glyphs(name):
        raise MissingGlyphError(
            f"the font {name} has no {', '.join(sorted(missing))} of {text!r}: choose another font"
        )


class Layer:
    """Text as pixels over a rectangle of the frame."""

    def __init__(self, drawn: Drawn, width: int, height: int) -> None:
        self.drawn = drawn
        picture = _text(drawn, drawn.look, width, height)
        box = picture.getbbox() or (0, 0, 1, 1)
        self.left, self.top = box[0], box[1]
        self._pixels = _premultiplied(picture.crop(box))
        self._sung: npt.NDArray[np.float32] | None = None
        if drawn.sung is not None:
            look = replace(drawn.look, fill=drawn.sung, box=0.0)
            self._sung = _premultiplied(_text(drawn, look, width, height).crop(box))

    def onto(self, frame: Frame, index: int, rate: int) -> None:
        """Draw the text over frame ``index``, if it is on screen then."""
        start, end = round(self.drawn.start * rate), round(self.drawn.end * rate)
        if not start <= index < end:
            return
        steps = self.drawn.fade * rate + 1  # the first and the last frame are never fully transparent
        opacity = min(1.0, (index - start + 1) / steps, (end - index) / steps)
        pixels = self._pixels
        if self._sung is not None:
            pixels = pixels.copy()
            until = round(pixels.shape[1] * (index - start + 1) / (end - start))
            pixels[:, :until] = self._sung[:, :until]
        left = self.left - round(self.drawn.speed * (index - start) / rate)
        top = self.top - round(self.drawn.rise * (index - start) / rate)
        first, last = max(0, -left), min(pixels.shape[1], frame.shape[1] - left)
        upper, lower = max(0, -top), min(pixels.shape[0], frame.shape[0] - top)
        if first >= last or upper >= lower:
            return
        part = pixels[upper:lower, first:last]
        under = frame[top + upper : top + lower, left + first : left + last]
        under[:] = under * (1 - part[..., 3:] * opacity) + part[..., :3] * opacity + 0.5


def _premultiplied(picture: Image.Image) -> npt.NDArray[np.float32]:
    pixels = np.asarray(picture, np.float32)
    alpha = pixels[..., 3:] / 255
    return np.concatenate([pixels[..., :3] * alpha, alpha], axis=2)


def _text(drawn: Drawn, look: Look, width: int, height: int) -> Image.Image:
    check_glyphs(drawn.text, look.font)
    size = max(8, round(look.size * height))
    face, stroke = font(look.font, size), round(look.outline * size)
    wide = width if not drawn.speed else width + round(face.getlength(drawn.text)) + size
    lines = drawn.text.split("\n")
    high = height if not drawn.rise else height + round(size * _LINE_SPACING * (len(lines) + 1))
    picture = Image.new("RGBA", (wide, high))
    pen = ImageDraw.Draw(picture)
    x, mode = drawn.place.x * width, {"left": "ls", "center": "ms", "right": "rs"}[drawn.place.anchor]
    last = drawn.place.baseline * height
    baselines = [last - size * _LINE_SPACING * above for above in reversed(range(len(lines)))]
    if look.box:
        longest = max(face.getlength(line) for line in lines) + size
        left = x - {"left": 0.0, "center": 0.5, "right": 1.0}[drawn.place.anchor] * longest
        corners = (left, baselines[0] - size * 1.05, left + longest, baselines[-1] + size * 0.45)
        pen.rectangle(corners, fill=(8, 8, 12, round(255 * look.box)))
    for line, baseline in zip(lines, baselines, strict=True):
        edge = {"stroke_width": stroke, "stroke_fill": look.edge}
        pen.text((x, baseline), line, font=face, anchor=mode, fill=look.fill, **edge)  # type: ignore[arg-type]
    return picture


class Footage:
    """Frames of the shared backgrounds, scaled to fill a size, played forwards and backwards."""

    def __init__(self, folder: Path, width: int, height: int) -> None:
        self._folder, self._size = folder, (width, height)
        self._loaded: dict[str, tuple[list[Frame], float]] = {}

    def frame(self, shot: Shot, seconds: float) -> Frame:
        """Return a new RGB frame of a shot, ``seconds`` after its start in the clip."""
        frames, rate = self._of(shot.file)
        place = int((shot.offset + seconds) * rate) % (2 * len(frames) - 2 or 1)
        picture = frames[min(place, 2 * len(frames) - 2 - place) if len(frames) > 1 else 0]
        return self._filling(picture, (shot.offset + seconds) * shot.pan)

    def _of(self, file: str) -> tuple[list[Frame], float]:
        if file not in self._loaded:
            with av.open(str(self._folder / file)) as container:
                stream = container.streams.video[0]
                decoded = itertools.islice(container.decode(stream), _MOST_FRAMES)
                kept = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in decoded]
                self._loaded[file] = kept, float(stream.average_rate or 25)
        return self._loaded[file]

    def _filling(self, frame: Frame, pan: float) -> Frame:
        width, height = self._size
        scale = max(width / frame.shape[1], height / frame.shape[0]) * (_PANNED if pan else 1)
        wide, high = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
        resized = cv2.resize(frame, (wide, high), interpolation=cv2.INTER_LINEAR)
        left, top = (wide - width) // 2, (high - height) // 2
        if pan:
            way = pan * width % (2 * (wide - width))  # to the right edge and back
            left = round(min(way, 2 * (wide - width) - way))
        return np.ascontiguousarray(resized[top : top + height, left : left + width], np.uint8)


def frames(situation: Situation, backgrounds: Path) -> Iterator[Frame]:
    """Yield the clip's frames, uint8 RGB (height, width, 3)."""
    width, height = situation.size
    footage = Footage(backgrounds, width, height)
    layers = [Layer(drawn, width, height) for drawn in situation.drawn]
    for index in range(round(situation.seconds * situation.rate)):
        now = index / situation.rate
        shot = [shot for shot in situation.shots if shot.start <= now + 1e-6][-1]
        frame = footage.frame(shot, now - shot.start)
        for layer in layers:
            layer.onto(frame, index, situation.rate)
        yield frame


def render(situation: Situation, backgrounds: Path, path: Path) -> None:
    """Write a situation's clip (H.264 in MP4)."""
    write_video(path, frames(situation, backgrounds), situation.size, situation.rate, crf=situation.crf)
