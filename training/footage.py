"""Backgrounds of the training clips: footage and photographs without captions, and synthetic ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import av
import cv2
import numpy as np

from training.fonts import Split
from training.texts import Random

#: File names in the folder of backgrounds; both Big Buck Bunny files show the same film.
VIDEOS: dict[Split, tuple[str, ...]] = {
    "train": (
        "big_buck_bunny_0_30.webm",
        "cockatoo_yuv420.mp4",
        "car-detection.mp4",
        "one-by-one-person-detection.mp4",
    ),
    "validation": ("bottle-detection.mp4", "carphone_pristine.mp4"),
    "test": ("bikes.mp4", "chaplin.mp4"),
}
#: Photographs: ``skimage`` and ``sklearn`` are in the wheels of scikit-image and scikit-learn.
STILLS: dict[Split, tuple[tuple[str, str], ...]] = {
    "train": (
        ("skimage", "astronaut.png"),
        ("skimage", "brick.png"),
        ("skimage", "camera.png"),
        ("skimage", "chelsea.png"),
        ("skimage", "grass.png"),
        ("skimage", "motorcycle_left.png"),
        ("skimage", "rocket.jpg"),
        ("skimage", "hubble_deep_field.jpg"),
        ("skimage", "page.png"),
        ("sklearn", "flower.jpg"),
    ),
    "validation": (("skimage", "coins.png"), ("skimage", "gravel.png")),
    "test": (("skimage", "coffee.png"), ("sklearn", "china.jpg"), ("backgrounds", "vacation_2017.jpg")),
}
_PACKAGES = {"skimage": "skimage.data", "sklearn": "sklearn.datasets.images"}

#: Maximum width of cached footage, in pixels.
_WIDTH = 800

Picture = Callable[[float], np.ndarray]
"""Gives the luma, uint8 (height, width), at a time in seconds."""


@dataclass(frozen=True)
class Footage:
    """Luma of the backgrounds, decoded once into ``cache`` and memory-mapped from there."""

    backgrounds: Path
    cache: Path

    def prepare(self) -> None:
        """Decode what is not in the cache yet. Raises ``FileNotFoundError`` for a missing file."""
        self.cache.mkdir(parents=True, exist_ok=True)
        for names in VIDEOS.values():
            for name in names:
                if not self._path(name).exists():
                    _store(self._path(name), *_decode(self.backgrounds / name))
        for pairs in STILLS.values():
            for package, name in pairs:
                if not self._path(name).exists():
                    _store(self._path(name), _photograph(package, name, self.backgrounds)[None], 1.0)

    def load(self, name: str) -> tuple[np.ndarray, float]:
        """Return uint8 (frames, height, width), memory-mapped, and the frames a second."""
        return _load(self._path(name))

    def _path(self, name: str) -> Path:
        return self.cache / f"{name}.npz.d"


@cache
def _load(folder: Path) -> tuple[np.ndarray, float]:
    return np.load(folder / "luma.npy", mmap_mode="r"), float((folder / "rate").read_text())


def _store(folder: Path, luma: np.ndarray, rate: float) -> None:
    partial = folder.with_suffix(".part")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "luma.npy", luma)
    (partial / "rate").write_text(str(rate))
    partial.rename(folder)


def _decode(path: Path) -> tuple[np.ndarray, float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        scale = min(1.0, _WIDTH / stream.width)
        size = round(stream.width * scale), round(stream.height * scale)
        frames = [
            cv2.resize(frame.to_ndarray(format="gray"), size, interpolation=cv2.INTER_AREA)
            for frame in container.decode(stream)
        ]
        return np.stack(frames), float(stream.average_rate)


def _photograph(package: str, name: str, backgrounds: Path) -> np.ndarray:
    if package == "backgrounds":
        data = (backgrounds / name).read_bytes()
    else:
        data = (resources.files(_PACKAGES[package]) / name).read_bytes()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    scale = 1600 / image.shape[1]
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image


def shot(rng: Random, footage: Footage, split: Split, height: int, width: int) -> Picture:
    """Return a take from the split's material, seen through a strip of ``height`` × ``width`` pixels."""
    kind = rng.random()
    if kind < 0.62:
        return _moving(rng, *footage.load(_one(rng, VIDEOS[split])), height, width)
    if kind < 0.88:
        return _panning(rng, footage.load(_one(rng, STILLS[split])[1])[0][0], height, width)
    return _made_up(rng, height, width)


def varied_shot(rng: Random, footage: Footage, split: Split, height: int, width: int) -> Picture:
    """Return a take that looks unlike the material: rescaled, rotated, negative, faster, or two layered.

    There is little footage without captions; a network that always sees it unchanged memorizes it.
    """
    chance = rng.random()
    if chance < 0.35:
        return _behind(rng, *(_turned(rng, footage, split, height, width) for _ in range(2)), height, width)
    if chance < 0.45:
        one, other = (_turned(rng, footage, split, height, width) for _ in range(2))
        share = float(rng.uniform(0.3, 0.7))
        return lambda seconds: cv2.addWeighted(one(seconds), share, other(seconds), 1 - share, 0)
    return _turned(rng, footage, split, height, width)


def _turned(rng: Random, footage: Footage, split: Split, height: int, width: int) -> Picture:
    """Return a take at any size and speed, possibly upside down or negative."""
    kind, upside_down, negative = rng.random(), rng.random() < 0.3, rng.random() < 0.2
    if kind < 0.6:
        luma, rate = footage.load(_one(rng, VIDEOS[split]))
        faster = rate * float(np.exp(rng.uniform(np.log(0.4), np.log(5))))
        taken = _moving(rng, luma, faster, height, width, least=0.15)
    elif kind < 0.85:
        still = footage.load(_one(rng, STILLS[split])[1])[0][0]
        taken = _panning(rng, still.T if rng.random() < 0.4 else still, height, width, least=0.15)
    else:
        taken = _made_up(rng, height, width)

    def picture(seconds: float) -> np.ndarray:
        made = taken(seconds)
        made = 251 - made if negative else made
        return np.ascontiguousarray(made[::-1]) if upside_down else made

    return picture


def _behind(rng: Random, front: Picture, back: Picture, height: int, width: int) -> Picture:
    """Return ``back``, with shapes filled with ``front`` moving across it."""
    shapes = cv2.GaussianBlur(
        rng.normal(0, 1, (2 * height, 3 * width)).astype(np.float32), (0, 0), height * rng.uniform(0.2, 0.8)
    )
    shapes = shapes / shapes.std() - float(rng.uniform(-0.5, 1.2))
    softness, speed = float(rng.uniform(4, 40)), rng.normal(0, 1, 2) * (1.5 * height, 0.2 * height)

    def picture(seconds: float) -> np.ndarray:
        moved = np.roll(shapes, (int(speed[1] * seconds), int(speed[0] * seconds)), (0, 1))
        share = np.clip(moved[:height, :width] * softness + 0.5, 0, 1)
        return (share * front(seconds) + (1 - share) * back(seconds) + 0.5).astype(np.uint8)

    return picture


def _one(rng: Random, items: Sequence):
    return items[int(rng.integers(len(items)))]


def _window(
    rng: Random, frame: tuple[int, int], height: int, width: int, least: float
) -> tuple[float, float, float, float]:
    """Return left, top, width and height of a window of the strip's shape, mostly in a frame's lower part.

    It covers at least ``least`` of the frame's width.
    """
    rows, columns = frame
    across = columns * rng.uniform(least, 1.0)
    down = across * height / width
    if down > rows:
        across, down = across * rows / down, rows
    top = (rows - down) * (rng.beta(4, 1.5) if rng.random() < 0.7 else rng.random())
    return (columns - across) * rng.random(), top, across, down


def _tone(rng: Random) -> np.ndarray:
    """Return a lookup table for contrast and brightness, from full-range to limited-range luma."""
    level = np.arange(256) / 255
    level = level ** rng.uniform(0.7, 1.4)
    level = (level - 0.5) * rng.uniform(0.6, 1.15) + 0.5 + rng.uniform(-0.12, 0.12)
    return np.clip(16 + 219 * level, 16, 235).astype(np.uint8)


def _moving(
    rng: Random, luma: np.ndarray, rate: float, height: int, width: int, least: float = 0.55
) -> Picture:
    left, top, across, down = _window(rng, luma.shape[1:], height, width, least)
    first, speed, mirrored = rng.uniform(0, len(luma)), rng.uniform(0.6, 1.5), rng.random() < 0.5
    table = _tone(rng)
    rows = slice(int(top), max(int(top) + 2, int(top + down)))
    columns = slice(int(left), max(int(left) + 2, int(left + across)))

    def picture(seconds: float) -> np.ndarray:
        # Forwards and backwards, so that the ends of the film do not make a cut.
        place = int(first + seconds * rate * speed) % (2 * len(luma))
        view = luma[min(place, 2 * len(luma) - 1 - place), rows, columns]
        view = view[:, ::-1] if mirrored else view
        return cv2.LUT(cv2.resize(np.ascontiguousarray(view), (width, height)), table)

    return picture


def _panning(rng: Random, photograph: np.ndarray, height: int, width: int, least: float = 0.55) -> Picture:
    left, top, across, _ = _window(rng, photograph.shape, height, width, least)
    speed = across * rng.choice([0.0, 0.02, 0.08, 0.25]) * rng.normal(0, 1, 2) * (1, 0.3)
    zoom, mirrored, table = rng.normal(0, 0.02), rng.random() < 0.5, _tone(rng)
    image = np.ascontiguousarray(photograph[:, ::-1] if mirrored else photograph)

    def picture(seconds: float) -> np.ndarray:
        scale = across / width * (1 + zoom * seconds)
        move = np.float32([[scale, 0, left + speed[0] * seconds], [0, scale, top + speed[1] * seconds]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.LUT(
            cv2.warpAffine(image, move, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101),
            table,
        )

    return picture


def _made_up(rng: Random, height: int, width: int) -> Picture:
    """Return a flat picture, a gradient, or a panning texture of blobs or thin strokes."""
    kind = int(rng.integers(4))
    level, slope, speed = rng.uniform(16, 235), rng.normal(0, 60), rng.normal(0, 60, 2)
    if kind == 0:
        flat = np.full((height, width), round(level), np.uint8)
        return lambda seconds: flat.copy()
    if kind == 1:
        across = np.linspace(-1, 1, width, dtype=np.float32)[None].repeat(height, 0)
        return lambda seconds: np.clip(
            level + slope * np.sin(across * 2 + seconds * speed[0] / 30), 16, 235
        ).astype(np.uint8)
    noise = rng.normal(0, 1, (2 * height, 2 * width)).astype(np.float32)
    size = height * rng.uniform(0.02, 0.15)
    texture = cv2.GaussianBlur(noise, (0, 0), size)
    texture *= rng.uniform(15, 60) / texture.std()
    if kind == 3:  # thin bright or dark strokes, like branches, fences and reflections
        texture = np.where(np.abs(texture) < 4, rng.uniform(-110, 110), 0).astype(np.float32)
        texture = cv2.GaussianBlur(texture, (0, 0), 0.8)

    def picture(seconds: float) -> np.ndarray:
        moved = np.roll(texture, (int(speed[1] * seconds * 0.3), int(speed[0] * seconds)), (0, 1))
        return np.clip(moved[:height, :width] + level, 16, 235).astype(np.uint8)

    return picture
