"""The moving backgrounds of the sample video: three scenes drawn with OpenCV and NumPy."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

#: (height, width, 3), RGB.
Frame = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]


class _Scene(Protocol):
    def draw(self, seconds: float) -> Frame:
        """Return the picture at a time within the scene, as a new array."""
        ...


_SceneKind = Callable[[int, int, np.random.Generator], _Scene]


def background(width: int, height: int, frames: int, fps: int, seed: int) -> Iterator[Frame]:
    """Yield the frames of the three scenes. A full-length sample has its cuts at 11.8 s and 21.2 s."""
    scenes: tuple[tuple[float, _SceneKind], ...] = ((11.8, _Harbour), (21.2, _City), (math.inf, _Morning))
    index, start = 0, 0.0
    for number, (end, kind) in enumerate(scenes):
        if index >= frames:
            return
        scene = kind(width, height, np.random.default_rng((seed, number)))
        while index < frames and index < end * fps - 1e-6:
            yield scene.draw(index / fps - start)
            index += 1
        start = end


def _gradient(height: int, width: int, *stops: tuple[float, Colour]) -> Frame:
    """Draw a vertical gradient through (position 0 to 1, colour) stops, dithered against banding."""
    rows = np.linspace(0, 1, height)
    places, colours = zip(*stops, strict=True)
    column = np.stack([np.interp(rows, places, channel) for channel in zip(*colours, strict=True)], axis=-1)
    noise = np.random.default_rng(0).random((height, width, 1)) - 0.5
    return np.clip(column[:, None] + noise + 0.5, 0, 255).astype(np.uint8)


def _glow(height: int, width: int, x: float, y: float, radius: float, colour: Colour) -> Frame:
    """Draw the light around a point, to be added to a frame of the same shape."""
    rows, columns = np.ogrid[:height, :width]
    light = np.exp(-np.hypot(columns - x, rows - y) / radius)[..., None] * np.array(colour)
    return light.astype(np.uint8)


class _Ridge:
    """An endless silhouette: a sum of a few waves, in fractions of the frame's height."""

    def __init__(
        self, rng: np.random.Generator, base: float, rise: float, wavelengths: Sequence[float]
    ) -> None:
        self.base = base
        self.waves = [(2 * math.pi / w, rng.uniform(0, 2 * math.pi), rise * w) for w in wavelengths]

    def height_at(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        waves = [a * (1 + np.sin(k * x + p)) / 2 for k, p, a in self.waves]
        return self.base - sum(waves, np.zeros_like(x))

    def fill(self, frame: Frame, offset: float, colour: Colour, bottom: float = 1.0) -> None:
        height, width = frame.shape[:2]
        x = np.linspace(0, width, width // 6 + 2)
        y = self.height_at(x / height + offset) * height
        outline = [*zip(x, y, strict=True), (width, bottom * height), (0, bottom * height)]
        _polygon(frame, outline, colour)


def _polygon(frame: Frame, points: Sequence[tuple[float, float]], colour: Colour) -> None:
    fixed = np.round(np.array(points) * 16).astype(np.int32)
    cv2.fillPoly(frame, [fixed], colour, cv2.LINE_AA, shift=4)


def _between(strip: Frame, column: int, part: float, width: int) -> Frame:
    """Cut a window that starts ``part`` of the way between two columns, so that slow motion is smooth."""
    left, right = strip[:, column : column + width], strip[:, column + 1 : column + 1 + width]
    return np.asarray(cv2.addWeighted(left, 1 - part, right, part, 0), np.uint8)


def _add(picture: Frame, light: Frame) -> Frame:
    """Return the sum of two pictures of one shape, saturated at 255."""
    return np.asarray(cv2.add(picture, light), np.uint8)


def _disc(frame: Frame, x: float, y: float, radius: float, colour: Colour) -> None:
    centre = (round(x * 16), round(y * 16))
    cv2.circle(frame, centre, round(radius * 16), colour, -1, cv2.LINE_AA, shift=4)


class _Harbour:
    """Dusk over water: drifting hills, gulls, a boat, and their reflection in the swell."""

    HORIZON = 0.62

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.width, self.height = width, height
        self.horizon = round(height * self.HORIZON)
        sky = ((0.0, (38, 34, 84)), (0.5, (176, 78, 110)), (0.85, (250, 158, 92)), (1.0, (255, 206, 138)))
        sun = (width * 0.64, self.horizon * 0.86)
        backdrop = _gradient(self.horizon, width, *sky)
        backdrop = _add(backdrop, _glow(self.horizon, width, *sun, height * 0.11, (190, 130, 70)))
        _disc(backdrop, *sun, height * 0.058, (255, 240, 200))
        self.backdrop = backdrop
        self.far = _Ridge(rng, self.HORIZON, 0.11, (0.9, 0.37, 0.13))
        self.near = _Ridge(rng, self.HORIZON + 0.015, 0.085, (0.62, 0.21))
        self.gulls = rng.random((7, 3))
        # The swell is computed on a coarse grid (it is smooth) and enlarged.
        below = height - self.horizon
        self.depth = np.linspace(0, 1, below // 2, dtype=np.float32)[:, None]
        self.across = np.linspace(0, width / height, width // 4, dtype=np.float32)[None]
        depth = np.linspace(0, 1, below, dtype=np.float32)[:, None]
        self.map_x = np.tile(np.arange(width, dtype=np.float32), (below, 1))
        self.map_y = np.tile((self.horizon - 1) * (1 - 0.8 * depth), (1, width))
        self.swell = np.tile(height * (0.004 + 0.03 * depth), (1, width))
        shade = (0.86 - 0.44 * depth[..., None]) * np.array([0.78, 0.86, 1.06])
        self.shade = np.tile((shade * 255).astype(np.uint8), (1, width, 1))
        self.phase = rng.uniform(0, 2 * math.pi, 2).astype(np.float32)

    def draw(self, seconds: float) -> Frame:
        height, width = self.height, self.width
        frame = np.empty((height, width, 3), np.uint8)
        upper = frame[: self.horizon]
        upper[:] = self.backdrop
        self.far.fill(frame, seconds * 0.012, (112, 62, 104))
        self.near.fill(frame, seconds * 0.03, (58, 40, 82))
        self._boat(frame, width * (0.12 + 0.035 * seconds))
        for x, y, pace in self.gulls:
            self._gull(frame, seconds, x, y, pace)
        frame[self.horizon :] = self._water(upper, seconds)
        return frame

    def _boat(self, frame: Frame, x: float) -> None:
        u, y = self.height * 0.03, self.horizon - self.height * 0.004
        _polygon(
            frame,
            [(x - 1.6 * u, y - 0.6 * u), (x + 1.8 * u, y - 0.6 * u), (x + 1.2 * u, y), (x - u, y)],
            (30, 22, 48),
        )
        _polygon(frame, [(x, y - 4 * u), (x, y - 0.9 * u), (x + 1.5 * u, y - 0.9 * u)], (252, 236, 214))
        _polygon(
            frame,
            [(x - 0.15 * u, y - 3.6 * u), (x - 0.15 * u, y - 0.9 * u), (x - 1.2 * u, y - 0.9 * u)],
            (226, 190, 176),
        )

    def _gull(self, frame: Frame, seconds: float, x: float, y: float, pace: float) -> None:
        span = self.height * (0.012 + 0.012 * pace)
        cx = (x + seconds * (0.03 + 0.04 * pace)) % 1.1 * self.width
        cy = (0.12 + 0.3 * y + 0.015 * math.sin(seconds * 1.3 + 9 * x)) * self.height
        lift = span * (0.35 + 0.5 * math.sin(seconds * (5 + 3 * pace) + 7 * y))
        wings = [
            (cx - span, cy - lift),
            (cx - span * 0.4, cy - lift * 0.6),
            (cx, cy),
            (cx + span * 0.4, cy - lift * 0.6),
        ]
        points = np.round(np.array([*wings, (cx + span, cy - lift)]) * 16).astype(np.int32)
        thickness = max(1, round(self.height / 270))
        cv2.polylines(frame, [points], False, (34, 26, 52), thickness, cv2.LINE_AA, shift=4)

    def _water(self, upper: Frame, seconds: float) -> Frame:
        """Mirror the upper part, bent by waves that grow towards the viewer."""
        size = (self.width, self.height - self.horizon)
        crests = np.sin(9 / (0.05 + self.depth) - np.float32(2.2 * seconds) + self.phase[0])
        cross = np.sin(self.across / 0.09 + 23 * self.depth + np.float32(1.7 * seconds) + self.phase[1])
        wave = cv2.resize(crests + np.float32(0.6) * cross, size, interpolation=cv2.INTER_LINEAR)
        bend = wave * self.swell
        mirrored = cv2.remap(
            upper,
            self.map_x + bend,
            self.map_y + bend * np.float32(0.6),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        glint = cv2.convertScaleAbs(np.maximum(wave - np.float32(1.15), 0), alpha=70)
        reflection = np.asarray(cv2.multiply(mirrored, self.shade, scale=1 / 255), np.uint8)
        return _add(reflection, np.asarray(cv2.cvtColor(glint, cv2.COLOR_GRAY2RGB), np.uint8))


class _City:
    """A night ride past three rows of lit houses, with lights out of focus in front."""

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.width, self.height = width, height
        self.sky = _gradient(
            height, width, (0, (10, 14, 40)), (0.55, (38, 40, 92)), (0.75, (96, 62, 110)), (1, (24, 22, 44))
        )
        self.stars = rng.random((90, 3))
        shades = ((44, 46, 92), (30, 32, 66), (16, 18, 40))
        bases, lows = (0.80, 0.84, 0.88), (0.30, 0.22, 0.16)
        self.rows = [self._houses(rng, *row) for row in zip(shades, bases, lows, strict=True)]
        self.paces = (0.02, 0.05, 0.11)
        self.lamps = rng.random((26, 4))
        self.colours = ((255, 196, 110), (255, 120, 70), (140, 190, 255), (255, 236, 190), (255, 80, 96))

    def _houses(
        self, rng: np.random.Generator, shade: Colour, base: float, low: float
    ) -> tuple[Frame, npt.NDArray[np.uint8]]:
        """Draw a strip that repeats every two frame widths, and its mask."""
        height, length = self.height, self.width * 2
        strip, mask = np.zeros((height, length, 3), np.uint8), np.zeros((height, length), np.uint8)
        x, pane = 0, max(2, round(height * 0.011))
        while x < length:
            wide = min(round(height * rng.uniform(0.09, 0.2)), length - x)
            top = round(height * (base - low * rng.uniform(0.35, 1.25)))
            strip[top:, x : x + wide] = shade
            mask[top:, x : x + wide - max(1, height // 270)] = 255
            for y in range(top + 2 * pane, round(height * base), 3 * pane):
                for column in range(x + pane, x + wide - 2 * pane, round(2.4 * pane)):
                    if rng.random() < 0.42:
                        warm = rng.uniform(0.55, 1)
                        strip[y : y + round(1.5 * pane), column : column + pane] = (
                            255 * warm,
                            208 * warm,
                            128 * warm,
                        )
            x += wide
        # One frame width is repeated, so that every window is a single slice.
        return np.hstack([strip, strip[:, : self.width + 1]]), np.hstack([mask, mask[:, : self.width + 1]])

    def draw(self, seconds: float) -> Frame:
        height, width = self.height, self.width
        frame = self.sky.copy()
        for x, y, phase in self.stars:
            light = int(120 + 110 * math.sin(2.5 * seconds + 40 * phase))
            _disc(frame, x * width, y * height * 0.45, height * 0.0016, (light, light, min(255, light + 20)))
        top = round(height * 0.3)
        for (strip, mask), pace in zip(self.rows, self.paces, strict=True):
            whole, part = divmod(seconds * pace * width % (2 * width), 1)
            houses, alpha = (_between(layer, int(whole), part, width) for layer in (strip[top:], mask[top:]))
            cv2.copyTo(houses, alpha, frame[top:])
        road = frame[round(height * 0.86) :]
        cv2.convertScaleAbs(road, dst=road, alpha=0.45)
        return self._lamps(frame, seconds)

    def _lamps(self, frame: Frame, seconds: float) -> Frame:
        """Add soft discs that pass at different speeds, drawn small and enlarged to blur them."""
        height, width = self.height, self.width
        lights = np.zeros((height // 4, width // 4, 3), np.uint8)
        for number, (x, y, near, way) in enumerate(self.lamps):
            pace = (0.05 + 0.17 * near) * (1 if way > 0.35 else -1)
            cx = ((x + pace * seconds) % 1.3 - 0.15) * width / 4
            cy = (0.74 + 0.22 * y) * height / 4
            disc = np.zeros_like(lights) if near > 0.7 else lights
            colour = tuple(
                channel * (0.28 + 0.3 * near) for channel in self.colours[number % len(self.colours)]
            )
            _disc(disc, cx, cy, height / 4 * (0.012 + 0.035 * near), colour)
            if disc is not lights:
                cv2.add(lights, disc, lights)
        blurred = cv2.GaussianBlur(lights, (0, 0), max(0.6, height / 540))
        enlarged = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
        return _add(frame, np.asarray(enlarged, np.uint8))


class _Morning:
    """A bright valley: clouds, three rows of hills, balloons rising, and grass that sways in front."""

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.width, self.height = width, height
        sky = _gradient(
            height,
            width,
            (0, (96, 168, 226)),
            (0.5, (188, 222, 240)),
            (0.75, (250, 238, 214)),
            (1, (250, 238, 214)),
        )
        self.sky = _add(sky, _glow(height, width, width * 0.22, height * 0.3, height * 0.16, (120, 104, 60)))
        self.hills = [
            (_Ridge(rng, 0.62, 0.16, (0.8, 0.3)), 0.010, (150, 188, 190)),
            (_Ridge(rng, 0.72, 0.14, (0.9, 0.4)), 0.022, (112, 170, 132)),
            (_Ridge(rng, 0.86, 0.13, (1.1, 0.5)), 0.045, (84, 148, 84)),
        ]
        self.clouds = rng.random((9, 3))
        self.balloons = rng.random((6, 3))
        self.grass = rng.random((width // 5, 3))
        self.colours = (
            (226, 72, 66),
            (246, 176, 56),
            (86, 110, 200),
            (232, 110, 150),
            (70, 160, 150),
            (150, 90, 180),
        )

    def draw(self, seconds: float) -> Frame:
        height, width = self.height, self.width
        frame = self.sky.copy()
        for x, y, size in self.clouds:
            self._cloud(
                frame,
                ((x + seconds * 0.012 * (1 + size)) % 1.4 - 0.2) * width,
                (0.07 + 0.3 * y) * height,
                size,
            )
        for number, (ridge, pace, colour) in enumerate(self.hills):
            ridge.fill(frame, seconds * pace, colour)
            if number == 0:
                for which, (x, y, size) in enumerate(self.balloons):
                    self._balloon(frame, seconds, x, y, size, self.colours[which])
        self._grass(frame, seconds)
        return frame

    def _cloud(self, frame: Frame, x: float, y: float, size: float) -> None:
        u = self.height * (0.02 + 0.025 * size)
        for dx, dy, r in (
            (-1.9, 0.25, 0.7),
            (-0.9, -0.2, 1.0),
            (0.3, -0.45, 1.25),
            (1.5, 0.1, 0.9),
            (0, 0.3, 0.8),
        ):
            _disc(frame, x + dx * u, y + dy * u, r * u, (250, 251, 252))

    def _balloon(self, frame: Frame, seconds: float, x: float, y: float, size: float, colour: Colour) -> None:
        r = self.height * (0.035 + 0.035 * size)
        cx = (0.08 + 0.84 * x + 0.012 * math.sin(0.6 * seconds + 8 * y)) * self.width
        cy = (0.62 - (0.15 + 0.35 * y) - 0.014 * seconds * (0.6 + size)) * self.height
        _polygon(
            frame,
            [
                (cx - 0.75 * r, cy + 0.62 * r),
                (cx + 0.75 * r, cy + 0.62 * r),
                (cx + 0.2 * r, cy + 1.5 * r),
                (cx - 0.2 * r, cy + 1.5 * r),
            ],
            colour,
        )
        _disc(frame, cx, cy, r, colour)
        centre, pale = (round(cx * 16), round(cy * 16)), tuple(min(255, channel + 60) for channel in colour)
        cv2.ellipse(frame, centre, (round(5 * r), round(15.5 * r)), 0, 0, 360, pale, -1, cv2.LINE_AA, shift=4)
        _polygon(
            frame,
            [
                (cx - 0.2 * r, cy + 1.65 * r),
                (cx + 0.2 * r, cy + 1.65 * r),
                (cx + 0.16 * r, cy + 2 * r),
                (cx - 0.16 * r, cy + 2 * r),
            ],
            (110, 74, 48),
        )

    def _grass(self, frame: Frame, seconds: float) -> None:
        height, width = self.height, self.width
        for number, (x, tall, shade) in enumerate(self.grass):
            foot, top = x * width, (0.05 + 0.12 * tall) * height
            bend = math.sin(1.6 * seconds + 5 * x + tall) * top * 0.22
            green = (int(40 + 40 * shade), int(96 + 60 * shade), int(40 + 20 * shade))
            half = height * 0.004
            _polygon(
                frame, [(foot - half, height), (foot + bend, height - top), (foot + half, height)], green
            )
            if number % 9 == 0:
                _disc(frame, foot + bend, height - top, height * 0.008, self.colours[number % 6])
