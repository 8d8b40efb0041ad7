"""Small caption strips rendered for tests, with the frames of their captions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from modal_gpu.extents.batches import FEWEST_SAMPLES
from modal_gpu.extents.predictor import Observation, StripHints
from modal_gpu.extents.stored_strips import StoredStrips

HEIGHT, WIDTH, LINE = 64, 480, 30


@dataclass(frozen=True)
class Strip:
    index: int
    luma: np.ndarray

    def rgb(self) -> np.ndarray:
        return np.repeat(self.luma[..., None], 3, axis=2)


def text_layer(text: str, left: int | None = None, baseline: int = 42) -> tuple[np.ndarray, np.ndarray]:
    """Return the luma and opacity of white text with a dark outline, float32 (HEIGHT, WIDTH)."""
    font, scale = cv2.FONT_HERSHEY_DUPLEX, 0.8
    (width, _), _ = cv2.getTextSize(text, font, scale, 2)
    at = ((WIDTH - width) // 2 if left is None else left, baseline)
    opacity = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.putText(opacity, text, at, font, scale, 255, 5, cv2.LINE_AA)
    luma = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.putText(luma, text, at, font, scale, 235, 2, cv2.LINE_AA)
    return luma.astype(np.float32), opacity.astype(np.float32) / 255


def backgrounds(count: int, kind: str, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield moving pictures: ``gradient``, ``texture`` (busy, panning) or ``cuts`` (a still for 7 frames)."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (HEIGHT, WIDTH * 3)).astype(np.float32), (0, 0), 4)
    texture = np.clip((texture - 127) * 6 + 120, 20, 210)
    for i in range(count):
        if kind == "gradient":
            row = 110 + 80 * np.sin(np.arange(WIDTH) / 70 + i / 9)
            picture = np.repeat(row[None].astype(np.float32), HEIGHT, axis=0)
        elif kind == "texture":
            picture = texture[:, 5 * i % (2 * WIDTH) :][:, :WIDTH].copy()
        else:
            picture = np.roll(texture, 211 * (i // 7), axis=1)[:, :WIDTH].copy()
        yield picture + rng.normal(0, 2.5, (HEIGHT, WIDTH)).astype(np.float32)


def render(
    captions: Sequence[tuple[int, int, str]],
    count: int,
    kind: str = "gradient",
    *,
    fade: int = 0,
    logo: str = "",
    left: int | None = None,
) -> list[Strip]:
    """Render ``count`` strips; captions as (start, end, text), half-open; ``fade`` frames at each end."""
    layers = {text: text_layer(text, left) for _, _, text in captions}
    strips = []
    for i, picture in enumerate(backgrounds(count, kind)):
        if logo:
            luma, opacity = text_layer(logo, left=8)
            picture = picture * (1 - opacity) + luma * opacity
        for start, end, text in captions:
            if start <= i < end:
                luma, opacity = layers[text]
                alpha = min(1.0, (i - start + 0.5) / fade, (end - i - 0.5) / fade) if fade else 1.0
                picture = picture * (1 - opacity * alpha) + luma * opacity * alpha
        strips.append(Strip(i, np.clip(picture, 0, 255).astype(np.uint8)))
    return strips


def hints(captions: Sequence[tuple[int, int, str]], count: int, step: int = 10, **extra) -> StripHints:
    """Return the hints that layout analysis would have from every ``step``-th frame."""
    observations = []
    for i in range(0, count, step):
        texts = [text for start, end, text in captions if start <= i < end]
        boxes = []
        for text in texts:
            ys, xs = np.nonzero(text_layer(text)[1] > 0.5)
            boxes.append(
                (xs.min() / WIDTH, ys.min() / HEIGHT, (xs.max() + 1) / WIDTH, (ys.max() + 1) / HEIGHT)
            )
        observations.append(Observation(i, tuple(boxes)))
    return StripHints(line_height=LINE / HEIGHT, observations=tuple(observations), **extra)


def stored_strips(frames: Sequence[Strip], indices: Sequence[int]) -> StoredStrips:
    """Return the strips at some indices as stored ones, which are enough for reference pictures."""
    assert len(indices) >= FEWEST_SAMPLES
    return StoredStrips(indices, lambda wanted: [frames[index].luma for index in wanted])
