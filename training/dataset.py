"""Clips on disk, rendered once by several processes, and the training windows cut from them."""

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.batches import FEWEST_SAMPLES, REFERENCE_STRIPS
from modal_gpu.extents.predictor import FractionBox, Observation, StripHints
from modal_gpu.extents.working_scale import (
    LINE_HEIGHT,
    MULTIPLE,
    STRIDE,
    evenly_spread,
    hint_planes,
    padded,
    reference_picture,
)
from training.clip import FRAMES, LONG_FRAMES, Clip
from training.fonts import Split, missing
from training.footage import Footage
from training.rendering import make_clip
from training.timeline import CASES

#: Increased when the renderer changes, so that older clips are not reused.
DATA_VERSION = 4
#: First seed of each split.
_FIRST_SEED: dict[Split, int] = {"train": 0, "validation": 10_000_000, "test": 20_000_000}

#: Training clips show all cases in turn; from this number on, those that are learnt slowest.
EVEN_CLIPS = 70 * len(CASES)
SLOW_CASES = (
    "numbered",
    "one_character",
    "slow_fade",
    "fade",
    "karaoke",
    "credits",
    "low_bitrate",
    "interlaced",
    "jitter",
    "shared_prefix",
    "ticker",
    "box",
    "scene_cut",
)
#: Cases in which captions are hard to see.
FAINT_CASES = ("slow_fade", "low_bitrate")

#: Long training clips start here: first those cases whose captions differ least, or that were mistaken for
#: text.
LONG_CLIPS = EVEN_CLIPS + 70 * len(SLOW_CASES)
FINE_CASES = ("numbered", "one_character", "shared_prefix", "numbered", "one_character", "jitter", "credits")
#: From here on, cases whose ends are hard to see, or in which much else moves.
LATE_CLIPS = LONG_CLIPS + 65 * len(FINE_CASES)
LATE_CASES = ("slow_fade", "karaoke", "slow_fade", "jitter", "credits", "fade", "slow_fade", "low_bitrate")
#: From here on, clips on backgrounds unlike all footage.
VARIED_CLIPS = LATE_CLIPS + 30 * len(LATE_CASES)
VARIED_CASES = (
    "numbered",
    "scene_cut",
    "one_character",
    "slow_fade",
    "low_bitrate",
    "plain",
    "karaoke",
    "numbered",
    "shared_prefix",
    "credits",
    "fade",
    "one_character",
    "slow_fade",
    "jitter",
    "no_gap",
)
#: The same for the validation clips, of all cases.
VARIED_VALIDATION = 208


def is_varied(split: Split, number: int) -> bool:
    """Return whether a clip has backgrounds unlike all footage. No clip of the test split has."""
    return number >= {"train": VARIED_CLIPS, "validation": VARIED_VALIDATION}.get(split, number + 1)


def case_of(split: Split, number: int) -> str:
    """Return the case that a clip of a split shows."""
    if split == "train" and is_varied(split, number):
        return VARIED_CASES[number % len(VARIED_CASES)]
    if split == "train" and number >= LATE_CLIPS:
        return LATE_CASES[number % len(LATE_CASES)]
    if split == "train" and number >= LONG_CLIPS:
        return FINE_CASES[number % len(FINE_CASES)]
    if split == "train" and number >= EVEN_CLIPS:
        return SLOW_CASES[number % len(SLOW_CASES)]
    return CASES[number % len(CASES)]


@dataclass(frozen=True)
class ClipStore:
    """Clips by split and number; :func:`case_of` returns what a clip shows."""

    cache: Path
    backgrounds: Path
    frames: int = FRAMES
    #: Whether to keep the strips at the video's own scale, and every source frame.
    keep_source: bool = False
    keep_shown: bool = False

    def path(self, split: Split, number: int) -> Path:
        kind = f"clips-{DATA_VERSION}-{LINE_HEIGHT}px-{self.frames}"
        kind += "-source" * self.keep_source + "-shown" * self.keep_shown
        return self.cache / kind / split / f"{number:06d}.npz"

    def paths(self, split: Split, count: int) -> list[Path]:
        return [self.path(split, number) for number in range(count)]

    @property
    def footage(self) -> Footage:
        return Footage(self.backgrounds, self.cache / "footage")

    def generate(
        self,
        split: Split,
        count: int,
        workers: int = 2,
        progress: Callable[[int, int], None] | None = None,
        first: int = 0,
    ) -> list[Path]:
        """Render those of ``count`` clips from number ``first`` on that do not exist yet.

        A later call continues an interrupted one.
        """
        paths = self.paths(split, first + count)[first:]
        todo = [number for number, path in enumerate(paths, first) if not path.exists()]
        if not todo:
            return paths
        if absent := missing():
            raise FileNotFoundError(f"fonts are not installed: {', '.join(absent)} (see training/README.md)")
        self.footage.prepare()
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        work = partial(_make, self, split)
        if workers <= 1:
            results = map(work, todo)
            for done, _ in enumerate(results, 1):
                if progress:
                    progress(done, len(todo))
            return paths
        # Fresh interpreters: neither OpenCV's nor PyTorch's threads survive a fork.
        with multiprocessing.get_context("spawn").Pool(workers, _calm) as pool:
            for done, _ in enumerate(pool.imap_unordered(work, todo, chunksize=4), 1):
                if progress:
                    progress(done, len(todo))
        return paths


def validation_clips(
    store: ClipStore, count: int, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Return ``count`` each of short, long, and long validation clips with varied backgrounds."""
    long_store = replace(store, frames=LONG_FRAMES)
    return [
        *store.generate("validation", count, workers, progress),
        *long_store.generate("validation", count, workers, progress),
        *long_store.generate("validation", count, workers, progress, VARIED_VALIDATION),
    ]


def _calm() -> None:
    os.nice(5)
    cv2.setNumThreads(1)


def _make(store: ClipStore, split: Split, number: int) -> int:
    case = case_of(split, number)
    clip = make_clip(
        _FIRST_SEED[split] + number,
        split,
        case,
        store.footage,
        store.frames,
        store.keep_source,
        store.keep_shown,
        is_varied(split, number),
    )
    clip.save(store.path(split, number))
    return number


# --- windows ----------------------------------------------------------------------------------------

#: Ink of half a character, in half-resolution pixels: a caption with less in a window is not visible.
_LEAST_INK = 16.0
#: Ink that changes with the smallest change, such as one accent, and with a clear one.
_LEAST_CHANGE, _CLEAR_CHANGE = 0.5, 5.0


@dataclass(frozen=True)
class Window:
    """A section of a clip with its labels. All fields but the pictures are float32.

    ``strips`` uint8 (T, H, W), ``reference`` uint8 (H, W), ``hints`` (3, h, w); ``presence`` and ``same``
    (T,) with their weights; ``text`` and ``change`` (T, h, w): the share of a cell that has (new) strokes,
    scaled so that one stroke fills it.
    """

    strips: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    hints: NDArray[np.float32]
    presence: NDArray[np.float32]
    presence_weight: NDArray[np.float32]
    same: NDArray[np.float32]
    same_weight: NDArray[np.float32]
    text: NDArray[np.float32]
    change: NDArray[np.float32]


def observed_hints(clip: Clip) -> StripHints:
    """Return the clip's hints with simulated OCR results from a few frames of the video.

    The boxes are those of the clip's captions, and of other captions on the same lines. A few are wrong, and
    one video in eight has none.
    """
    rng = np.random.default_rng([clip.seed, 77])
    own = [_line_boxes(ink) for ink in clip.glyphs]
    own = [boxes for boxes in own if boxes]
    if not own or rng.random() < 0.12:
        return clip.hints
    observations = []
    for index in range(int(rng.integers(3, 31))):
        boxes = own[int(rng.integers(len(own)))]
        if rng.random() < 0.6:  # a different text on the same lines
            at = clip.hints.anchor_position or 0.5
            resized = []
            for left, top, right, bottom in boxes:
                share = float(rng.uniform(0.3, 1.6))
                if clip.hints.anchor_type in ("left", "right"):
                    fixed = left if clip.hints.anchor_type == "left" else right
                else:
                    fixed = at if clip.hints.anchor_position else (left + right) / 2
                resized.append((fixed + (left - fixed) * share, top, fixed + (right - fixed) * share, bottom))
            boxes = resized
        if rng.random() < 0.03:
            start, row = rng.uniform(0, 0.8), rng.uniform(0, 0.6)
            boxes = [*boxes, (start, row, start + rng.uniform(0.05, 0.3), row + 0.4)]
        room = 0.15 * clip.hints.line_height * rng.uniform(0.5, 1.5)
        clipped = [
            (max(0.0, left - 0.005), max(0.0, top - room), min(1.0, right + 0.005), min(1.0, bottom + room))
            for left, top, right, bottom in boxes
        ]
        observations.append(
            Observation(index, tuple(box for box in clipped if box[0] < box[2] and box[1] < box[3]))
        )
    return replace(clip.hints, observations=tuple(observations))


def _line_boxes(ink: NDArray[np.uint8]) -> list[FractionBox]:
    """Return boxes around the lines of a caption's strokes, as fractions of the strip."""
    rows = (ink > 60).any(axis=1).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], rows, [0]])))
    boxes = []
    for top, bottom in zip(edges[::2], edges[1::2], strict=True):
        columns = np.flatnonzero((ink[top:bottom] > 60).any(axis=0))
        if bottom - top >= 3:  # not just an accent
            boxes.append(
                (
                    columns[0] / ink.shape[1],
                    top / ink.shape[0],
                    (columns[-1] + 1) / ink.shape[1],
                    bottom / ink.shape[0],
                )
            )
    return boxes


def whole_window(clip: Clip) -> Window:
    """Return the entire clip as one window."""
    return window(clip, 0, len(clip.luma), 0, clip.luma.shape[2])


def window(clip: Clip, first: int, frames: int, left: int, width: int, small_changes: float = 0.3) -> Window:
    """Cut ``frames`` frames from ``first`` on, and columns ``[left, left + width)``, padded if needed.

    ``left`` must be a multiple of 8. ``small_changes`` is the weight of changes smaller than half a
    character.

    Labels describe what is visible in the window: a text entirely outside it is absent, and two texts that
    differ only outside it are the same.
    """
    times, columns = slice(first, first + frames), slice(left, left + width)
    height, whole = clip.luma.shape[1:]
    strips = np.stack([padded(strip[:, columns]) for strip in clip.luma[times]])
    rows, cells = strips.shape[1] // STRIDE, strips.shape[2] // STRIDE
    planes = hint_planes((height, whole), observed_hints(clip))[:, :, left // STRIDE : left // STRIDE + cells]
    planes = np.pad(planes, ((0, 0), (0, 0), (0, cells - planes.shape[2])), mode="edge")

    half = np.zeros((len(clip.glyphs) + 1, strips.shape[1] // 2, strips.shape[2] // 2), np.float32)
    seen = clip.glyphs[:, :, left // 2 : -(-(left + width) // 2)]
    half[:-1, : seen.shape[1], : seen.shape[2]] = seen / 255.0  # the last one, index -1, stays empty

    def by_cell(ink: NDArray[np.float32]) -> NDArray[np.float32]:
        return ink.reshape(*ink.shape[:-2], rows, 2, cells, 2).mean(axis=(-3, -1))

    owner = clip.owner[times].astype(int)
    before = clip.owner[np.maximum(np.arange(first, first + frames) - 1, 0)].astype(int)
    ink = half.sum(axis=(1, 2))
    presence = (ink[owner] >= _LEAST_INK).astype(np.float32)
    # Slivers of text carry little information.
    presence_weight = np.ones(len(owner), np.float32)
    presence_weight[(owner >= 0) & (ink[owner] > 0.5) & (ink[owner] < _LEAST_INK)] = 0

    changed = {(a, b): np.abs(half[a] - half[b]) for a, b in set(zip(before, owner, strict=True)) if a != b}
    amount = np.array([changed[a, b].sum() if a != b else 0.0 for a, b in zip(before, owner, strict=True)])
    same = (amount < _LEAST_CHANGE).astype(np.float32)
    both = (ink[owner] >= _LEAST_INK) & (ink[before] >= _LEAST_INK)
    same_weight = np.where(both, 1.0, 0.0)
    same_weight[both & (amount >= _LEAST_CHANGE) & (amount < _CLEAR_CHANGE)] = small_changes

    cell_ink = by_cell(half)
    text = np.clip(cell_ink[owner] / 0.35, 0, 1)
    change = np.zeros_like(text)
    for place, pair in enumerate(zip(before, owner, strict=True)):
        if pair in changed:
            change[place] = np.clip(by_cell(changed[pair]) / 0.25, 0, 1)
    return Window(
        strips=strips,
        reference=padded(clip.reference[:, columns]),
        hints=planes.astype(np.float32),
        presence=presence,
        presence_weight=presence_weight,
        same=same,
        same_weight=same_weight.astype(np.float32),
        text=text.astype(np.float32),
        change=change.astype(np.float32),
    )


def stored_clip(path: Path, strips: int = REFERENCE_STRIPS) -> Clip:
    """Load a clip. A long one gets the reference picture that a predictor would compute from it alone."""
    clip = Clip.load(path)
    if len(clip.luma) < LONG_FRAMES:
        return clip
    return replace(clip, reference=reference_picture(evenly_spread(clip.luma, strips)))


def random_window(rng: np.random.Generator, path: Path, frames: int, width: int) -> Window:
    """Cut a window ``width`` columns wide at a random place of a stored clip."""
    clip = stored_clip(path, int(rng.integers(FEWEST_SAMPLES, REFERENCE_STRIPS + 1)))
    first = int(rng.integers(0, len(clip.luma) - frames + 1))
    whole = clip.luma.shape[2]
    left = int(rng.integers(0, max(0, whole - width) // MULTIPLE + 1)) * MULTIPLE
    made = window(clip, first, frames, left, min(width, whole - left))
    return sized(made, made.strips.shape[1], width)


def changing_window(rng: np.random.Generator, path: Path, frames: int, width: int) -> Window:
    """Cut a window around a transition between two captions, at the columns that differ, if there is one.

    Small changes are as likely as large ones.
    """
    clip = stored_clip(path, int(rng.integers(FEWEST_SAMPLES, REFERENCE_STRIPS + 1)))
    owner = clip.owner.astype(int)
    follows = 1 + np.flatnonzero((owner[1:] != owner[:-1]) & (owner[1:] >= 0) & (owner[:-1] >= 0))
    first = int(rng.integers(0, len(owner) - frames + 1))
    whole = clip.luma.shape[2]
    places = max(0, whole - width) // MULTIPLE
    left = int(rng.integers(0, places + 1)) * MULTIPLE
    if len(follows):
        at = int(follows[int(rng.integers(len(follows)))])
        first = int(np.clip(at - int(rng.integers(6, frames - 6)), 0, len(owner) - frames))
        one, other = clip.glyphs[owner[at - 1]].astype(int), clip.glyphs[owner[at]]
        changed = 2 * np.flatnonzero(np.abs(one - other).sum(axis=0) > 60)
        if len(changed):
            column = int(changed[int(rng.integers(len(changed)))])
            left = int(np.clip((column - rng.integers(width // 8, width * 7 // 8)) // MULTIPLE, 0, places))
            left *= MULTIPLE
    made = window(clip, first, frames, left, min(width, whole - left), small_changes=1.0)
    return sized(made, made.strips.shape[1], width)


def sized(made: Window, height: int, width: int) -> Window:
    """Pad to ``height`` × ``width`` pixels by repeating the last row and column, labelled as no text."""

    def fit(x: NDArray, pixels: int, mode: str) -> NDArray:
        rows, columns = height // pixels - x.shape[-2], width // pixels - x.shape[-1]
        return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, rows), (0, columns)], mode=mode)

    return replace(
        made,
        strips=fit(made.strips, 1, "edge"),
        reference=fit(made.reference, 1, "edge"),
        hints=fit(made.hints, STRIDE, "edge"),
        text=fit(made.text, STRIDE, "constant"),
        change=fit(made.change, STRIDE, "constant"),
    )
