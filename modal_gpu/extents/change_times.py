"""The source frame at which a caption begins or ends, finer than the 10 Hz pairs that tell of it.

While strips go to the predictor, small pictures of all source frames are kept until the labels of
their time are known. Around a pair that may be a change, the pixels are looked for that stand still
on one side of it and differ from everything on the other: strokes of the caption that comes or goes,
however the picture behind them moves. How far each source frame has gone from one side to the other
gives a step or a ramp (a fade), whose first or last frame is the one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.predictor import PairBatch, StripFrame

#: 10 Hz frames looked at on either side of a pair, at most.
WINDOW = 5
#: Height of a caption line in the small pictures, pixels, and their largest side.
LINE_HEIGHT = 20
_LARGEST_SIDE = 640
#: Pairs less likely to be a change than this have no time.
LEAST_PROBABILITY = 0.05
#: A pair more likely than this is a change of its own: nothing is looked at beyond it.
_OTHER_CHANGE = 0.5
#: Frames this near to a pair may be in the middle of a fade; sides are learned from those beyond.
_FADE_FRAMES = 2
#: Pictures that a side is learned from.
_SIDE_PICTURES = 4
#: Luma differences that compression makes.
_NOISE = 12
_MOST_PIXELS = 4000
#: Summed weight (luma levels times pixels) below which there is nothing to see.
_LEAST_WEIGHT = 300.0
#: Longest fade, and what a frame of fade costs, in squared shares: steps are preferred.
_LONGEST_FADE = 0.7
_FADE_COST = 0.004
#: Share of a caption's strength from which it is seen.
_VISIBLE = 0.1


class SourcePicture(Protocol):
    """One source frame: when it is shown, in seconds, and its small picture, uint8 (height, width)."""

    @property
    def seconds(self) -> float: ...

    @property
    def luma(self) -> NDArray[np.uint8]: ...


class SourcedFrame(StripFrame, Protocol):
    """A 10 Hz strip with the source frames shown since the one before, itself included."""

    @property
    def source(self) -> tuple[SourcePicture, ...]: ...


def picture_size(height: int, width: int, line_height: float) -> tuple[int, int]:
    """Height and width of the small pictures of a strip; ``line_height`` is a fraction of the strip."""
    scale = min(1.0, LINE_HEIGHT / max(1.0, line_height * height), _LARGEST_SIDE / max(height, width))
    return max(8, round(height * scale)), max(8, round(width * scale))


class ChangeLocator:
    """Watches a predictor's frames and its batches; gives a time for each pair that may be a change.

    Holds the pictures between the oldest pair without a time and the newest frame. A pair's time
    depends on :data:`WINDOW` frames on either side of it, and on their labels.
    """

    def __init__(self, first_index: int = 0) -> None:
        self._first = self._oldest = first_index
        self._sources: list[tuple[SourcePicture, ...]] = []  # from index ``_oldest`` on
        self._before: SourcePicture | None = None  # the last one before these
        self._presence: list[float] = []
        self._same: list[float] = []
        self._times: list[float] = []

    def watched(self, frames: Iterable[SourcedFrame]) -> Iterator[SourcedFrame]:
        """The frames, as they are drawn."""
        for frame in frames:
            self._sources.append(frame.source)
            yield frame

    def add(self, batch: PairBatch) -> None:
        """The labels of the next frames."""
        self._presence += batch.presence.tolist()
        self._same += batch.same.tolist()
        self._locate(len(self._presence) - WINDOW)

    def finish(self) -> NDArray[np.float64]:
        """Float64 (n,): for each frame, when the change from the frame before happens; NaN: none."""
        self._locate(len(self._presence))
        return np.array(self._times, np.float64)

    def _locate(self, end: int) -> None:
        for place in range(len(self._times), end):
            self._times.append(self._time(place))
        stale = self._first + len(self._times) - WINDOW - 2 - self._oldest
        if stale > 0:
            for source in self._sources[:stale]:
                self._before = source[-1] if source else self._before
            del self._sources[:stale]
            self._oldest += stale

    def _changes(self, place: int) -> tuple[float, float, float]:
        """Probabilities of (empty to caption, caption to empty, another caption) into a frame."""
        if not 0 < place < len(self._presence):
            return 0.0, 0.0, 0.0
        a, b = self._presence[place - 1 : place + 1]
        return (1 - a) * b, a * (1 - b), a * b * (1 - self._same[place])

    def _time(self, place: int) -> float:
        appears, vanishes, changes = self._changes(place)
        if appears + vanishes + changes < LEAST_PROBABILITY:
            return np.nan
        first, last = place - 1, place
        while first > 0 and place - 1 - first < WINDOW and sum(self._changes(first)) <= _OTHER_CHANGE:
            first -= 1
        while (
            last + 1 < len(self._presence)
            and last - place < WINDOW
            and sum(self._changes(last + 1)) <= _OTHER_CHANGE
        ):
            last += 1
        pictures, indices = self._pictures(first, last)
        middle = place - 0.5
        transition = _transition(pictures, indices - middle)
        if transition is None:
            return np.nan
        if appears >= max(vanishes, changes):
            return pictures[transition.first_above(_VISIBLE)].seconds
        if vanishes >= changes:
            return pictures[transition.first_above(1 - _VISIBLE)].seconds
        return pictures[transition.first_above(0.5)].seconds

    def _pictures(self, first: int, last: int) -> tuple[list[SourcePicture], NDArray[np.float64]]:
        """The picture shown at place ``first`` and all after it up to ``last``, and their 10 Hz places."""
        offset = self._first - self._oldest
        shown = self._before
        for source in self._sources[: first + offset + 1]:
            shown = source[-1] if source else shown
        pictures = [shown] if shown is not None else []
        places = [float(first)] * len(pictures)
        for place in range(first + 1, last + 1):
            source = self._sources[place + offset]
            pictures += source
            places += [float(place)] * len(source)
        return pictures, np.array(places)


@dataclass(frozen=True)
class _Transition:
    """A step or ramp: 0 up to picture ``start``, 1 from picture ``end`` on, by time between them."""

    start: int
    end: int
    seconds: NDArray[np.float64]

    def first_above(self, share: float) -> int:
        """The first picture that has gone further than ``share`` of the way."""
        done = _ramp(self.seconds, self.start, self.end)
        return int(np.argmax(done > share))


def _ramp(seconds: NDArray[np.float64], start: int, end: int) -> NDArray[np.float64]:
    return np.clip((seconds - seconds[start]) / max(seconds[end] - seconds[start], 1e-9), 0, 1)


def _transition(pictures: list[SourcePicture], places: NDArray[np.float64]) -> _Transition | None:
    """How the pictures go from the look of the first ones to that of the last; ``None``: not at all.

    ``places`` are 10 Hz places relative to the middle of the pair.
    """
    before, after = np.flatnonzero(places < 0), np.flatnonzero(places > 0)
    if not len(before) or not len(after):
        return None
    shares = _shares(pictures, _side(before, places), _side(after[::-1], -places))
    if shares is None:
        return None
    seconds = np.array([picture.seconds for picture in pictures])
    best, found = np.inf, None
    for start in range(len(pictures) - 1):
        for end in range(start + 1, len(pictures)):
            if end > start + 1 and seconds[end] - seconds[start] > _LONGEST_FADE:
                break
            misfit = ((shares - _ramp(seconds, start, end)) ** 2).sum() + _FADE_COST * (end - start - 1)
            if misfit < best:
                best, found = misfit, _Transition(start, end, seconds)
    return found


def _side(which: NDArray[np.intp], places: NDArray[np.float64]) -> NDArray[np.intp]:
    """Pictures to learn a side from, furthest first: those clear of a fade, else the furthest one."""
    clear = which[places[which] < -_FADE_FRAMES]
    which = clear if len(clear) else which[:1]
    chosen = np.linspace(0, len(which) - 1, min(len(which), _SIDE_PICTURES)).round().astype(int)
    return which[chosen]


def _shares(
    pictures: list[SourcePicture], before: NDArray[np.intp], after: NDArray[np.intp]
) -> NDArray[np.float64] | None:
    """How far each picture has gone from one side's look to the other's, about 0 to 1."""
    one = np.stack([pictures[place].luma for place in before])
    other = np.stack([pictures[place].luma for place in after])
    total = np.zeros(len(pictures))
    weight = 0.0
    for stands, moves, places, reversed_ in ((one, other, after, False), (other, one, before, True)):
        look, pixels, strength = _strokes(stands, moves)
        if not len(pixels):
            continue
        flat = np.stack([picture.luma.reshape(-1)[pixels] for picture in pictures]).astype(np.float32)
        distance = np.abs(flat - look) @ strength
        full = distance[places].mean()
        if full <= 0:
            continue
        share = distance / full
        mass = float(strength.sum())
        total += mass * (1 - share if reversed_ else share)
        weight += mass
    return total / weight if weight >= _LEAST_WEIGHT else None


def _strokes(
    stands: NDArray[np.uint8], moves: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]]:
    """Pixels that one side shows alike all the time and the other never: their look, place and weight."""
    low, high = stands.min(axis=0), stands.max(axis=0)
    look = stands.mean(axis=0, dtype=np.float32)
    middle = look.astype(np.uint8)
    apart = cv2.absdiff(moves[0], middle)
    for picture in moves[1:]:
        np.minimum(apart, cv2.absdiff(picture, middle), out=apart)
    weight = apart.astype(np.float32) - (high - low) - _NOISE
    weight = weight.reshape(-1)
    pixels = np.flatnonzero(weight > 0)
    if len(pixels) > _MOST_PIXELS:
        pixels = np.sort(pixels[np.argpartition(weight[pixels], -_MOST_PIXELS)[-_MOST_PIXELS:]])
    return look.reshape(-1)[pixels], pixels, weight[pixels]
