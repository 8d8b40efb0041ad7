"""The source frame at which a caption begins or ends, finer than the 10 Hz pairs.

While strips go to the predictor, small pictures of all source frames are kept until the labels of
their time are known. Around a pair that may be a change, the locator looks for pixels that stand still
on one side of it and differ from everything on the other: strokes of the caption that comes or goes,
whatever moves behind them. The progress of each source frame from one side to the other is fitted by a
step or a ramp (a fade), whose first or last frame is the time of the change. It stays near the tenth of a
second that the labels name, and cuts of the picture explain nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.predictor import PairBatch, StripFrame
from modal_gpu.extents.transitions import Transition, fitted, scenes_of

#: 10 Hz frames used on either side of a pair, at most.
WINDOW = 5
#: Height of a caption line in the small pictures, pixels, and their largest side.
LINE_HEIGHT = 20
_LARGEST_SIDE = 640
#: Pairs less likely to be a change than this have no time.
LEAST_PROBABILITY = 0.05
#: A pair more likely than this is another change: frames beyond it are not used.
_OTHER_CHANGE = 0.5
_OTHER_DISTANCE = 3
#: Frames this near to a pair may be in the middle of a fade; sides are learned from those beyond.
_FADE_FRAMES = 2
#: Pictures that a side is learned from.
_SIDE_PICTURES = 4
#: Luma differences caused by compression.
_NOISE = 12
_MOST_PIXELS = 4000
#: Side of the square of pixels whose mean a pixel is compared with.
_SURROUNDINGS = 11
#: Summed weight (luma levels times pixels) below which no change is visible.
_LEAST_WEIGHT = 300.0
#: Share of all strokes' weight from which those that go, or come, are fitted separately.
_LEAST_PART = 0.1
#: Share of the strokes' weight that comes or goes from one picture to the next if the caption does, and the
#: least step of such a stroke, in shares of its whole change.
_LEAST_AT_ONCE, _AT_ONCE_STEP = 0.2, 0.6
#: Pictures from which on a transition is a fade.
_FADE_PICTURES = 4


#: What happens into a frame: a caption where none was, none where one was, or another caption.
_Kind = Literal["appears", "vanishes", "changes"]


class SourcePicture(Protocol):
    """A source frame: its presentation time in seconds and its small picture, uint8 (height, width)."""

    @property
    def seconds(self) -> float: ...

    @property
    def luma(self) -> NDArray[np.uint8]: ...


class SourcedFrame(StripFrame, Protocol):
    """A 10 Hz strip with the source frames shown since the strip before, its own included."""

    @property
    def source(self) -> tuple[SourcePicture, ...]: ...


def picture_size(height: int, width: int, line_height: float) -> tuple[int, int]:
    """Return the height and width of a strip's small pictures; ``line_height`` is a fraction of the strip."""
    scale = min(1.0, LINE_HEIGHT / max(1.0, line_height * height), _LARGEST_SIDE / max(height, width))
    return max(8, round(height * scale)), max(8, round(width * scale))


class ChangeLocator:
    """Finds a time for each pair that may be a change, from a predictor's frames and batches.

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
        """Yield the frames unchanged, and keep their source pictures."""
        for frame in frames:
            self._sources.append(frame.source)
            yield frame

    def add(self, batch: PairBatch) -> None:
        """Add the labels of the next frames."""
        self._presence += batch.presence.tolist()
        self._same += batch.same.tolist()
        self._locate(len(self._presence) - WINDOW)

    def finish(self) -> NDArray[np.float64]:
        """Return float64 (n,): for each frame the time of the change from the frame before, NaN for none."""
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
        """Return the probabilities of (empty to caption, caption to empty, another caption) into a frame."""
        if not 0 < place < len(self._presence):
            return 0.0, 0.0, 0.0
        a, b = self._presence[place - 1 : place + 1]
        return (1 - a) * b, a * (1 - b), a * b * (1 - self._same[place])

    def _time(self, place: int) -> float:
        appears, vanishes, changes = self._changes(place)
        if appears + vanishes + changes < LEAST_PROBABILITY:
            return np.nan
        first, last = place - 1, place
        while first > 0 and place - 1 - first < WINDOW and not self._is_other(first, place):
            first -= 1
        while (
            last + 1 < len(self._presence) and last - place < WINDOW and not self._is_other(last + 1, place)
        ):
            last += 1
        pictures, indices = self._pictures(first, last)
        kind: _Kind = (
            "appears"
            if appears >= max(vanishes, changes)
            else "vanishes"
            if vanishes >= changes
            else "changes"
        )
        found = _change(pictures, indices - (place - 0.5), kind)
        return np.nan if found is None else pictures[found.at(kind)].seconds

    def _is_other(self, place: int, than: int) -> bool:
        """Return whether another change happens into a frame: beyond one fade, or in the other direction."""
        there, here = self._changes(place), self._changes(than)
        if sum(there) <= _OTHER_CHANGE:
            return False
        comes_and_goes = {int(np.argmax(there)), int(np.argmax(here))} == {0, 1}
        return abs(place - than) >= _OTHER_DISTANCE or comes_and_goes

    def _pictures(self, first: int, last: int) -> tuple[list[SourcePicture], NDArray[np.float64]]:
        """Return the picture shown at place ``first``, all after it up to ``last``, and their places."""
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
class _Change:
    """The transitions of the strokes that go, and of those that come."""

    leaves: Transition
    comes: Transition
    #: The first picture that shows more of what comes than of what goes.
    half: int

    def at(self, kind: _Kind) -> int:
        """Return the first picture that shows the coming caption, or that no longer shows the going one.

        A caption's own strokes decide: others belong to what moves behind it. For captions that follow each
        other, it is the picture at which one becomes the other.
        """
        if kind == "appears":
            return self.comes.begins
        if kind == "vanishes":
            return self.leaves.ends
        if self.leaves.ends > self.comes.begins:
            return self.half  # one dissolves into the other
        return (self.leaves.ends + self.comes.begins) // 2  # one fades out, then the other in


def _change(pictures: list[SourcePicture], places: NDArray[np.float64], kind: _Kind) -> _Change | None:
    """Return how the pictures change from the look of the first ones to that of the last, if they do.

    ``places`` are 10 Hz places relative to the middle of the pair.
    """
    before, after = np.flatnonzero(places < 0), np.flatnonzero(places > 0)
    if not len(before) or not len(after):
        return None
    seconds = np.array([picture.seconds for picture in pictures])
    scenes = scenes_of([picture.luma for picture in pictures])
    looks = np.stack([_contrast(picture.luma) for picture in pictures])
    # Of the pictures since the frame before, only the last one is known to be after the change.
    settled = after[np.count_nonzero(places[after] < 1) - 1 :]
    sides = _side(before, places), _side(settled[::-1], -places)
    found: _Change | None = None
    # First with pictures clear of any fade, then with those found to be right beside it: the nearest ones
    # show best what moves behind the caption.
    for _ in range(2):
        leaving, coming = _shares(looks, *sides)
        mass = leaving.mass + coming.mass
        if mass < _LEAST_WEIGHT:
            return found
        both = (leaving.mass * leaving.share + coming.mass * coming.share) / mass
        whole = fitted(both, seconds, places, scenes)
        leaves, comes = (
            fitted(part.share, seconds, places, scenes) if part.mass >= _LEAST_PART * mass else whole
            for part in (leaving, coming)
        )
        leaves, comes = (
            _at_once(change, looks, places, *stroke_sides)
            for change, stroke_sides in ((leaves, sides), (comes, sides[::-1]))
        )
        half = whole.start + int(np.argmax(both[whole.start : whole.end + 1] > 0.5))
        found = _Change(leaves, comes, half)
        main = {"appears": comes, "vanishes": leaves, "changes": whole}[kind]
        sides = (
            np.arange(main.start + 1)[-_SIDE_PICTURES:],
            np.arange(main.end, len(looks))[:_SIDE_PICTURES],
        )
    return found


def _contrast(luma: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return each pixel less its surroundings: strokes stay, scenes and light mostly vanish."""
    return luma.astype(np.int16) - np.asarray(cv2.blur(luma, (_SURROUNDINGS, _SURROUNDINGS)), np.uint8)


def _side(which: NDArray[np.intp], places: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return pictures to learn a side from, furthest first: those clear of a fade, if there are two."""
    clear = which[places[which] < -_FADE_FRAMES]
    which = clear if len(clear) > 1 else which
    chosen = np.linspace(0, len(which) - 1, min(len(which), _SIDE_PICTURES)).round().astype(int)
    return which[chosen]


@dataclass(frozen=True)
class _Share:
    """The progress of each picture from one side's look to the other's, about 0 to 1, by some strokes."""

    share: NDArray[np.float64]
    #: Their summed weight.
    mass: float


def _shares(
    looks: NDArray[np.int16], before: NDArray[np.intp], after: NDArray[np.intp]
) -> tuple[_Share, _Share]:
    """Return progress by strokes that only ``before`` shows, and by those that only ``after`` shows."""
    flat = looks.reshape(len(looks), -1)

    def by_strokes_of(stands: NDArray[np.intp], moves: NDArray[np.intp]) -> _Share:
        look, pixels, strength = _strokes(flat[stands], flat[moves])
        # Not by a matrix product: OpenBLAS's threads would take the cores of others while they wait.
        distance = np.einsum("ij,j->i", np.abs(flat[:, pixels] - look), strength)
        full = float(distance[moves].mean()) if len(pixels) else 0.0
        if full <= 0:
            return _Share(np.zeros(len(looks)), 0.0)
        return _Share(distance / full, float(strength.sum()))

    coming = by_strokes_of(after, before)
    return by_strokes_of(before, after), _Share(1 - coming.share, coming.mass)


def _at_once(
    change: Transition,
    looks: NDArray[np.int16],
    places: NDArray[np.float64],
    stands: NDArray[np.intp],
    moves: NDArray[np.intp],
) -> Transition:
    """Return a fade as a step where many strokes come or go at once, in the tenth of a second of the labels.

    Something that moves out of the picture behind the caption uncovers pixels that then stand still, one
    after the other: together they look like a slow fade. In a fade no stroke changes at once.
    """
    if change.end - change.start < _FADE_PICTURES:
        return change
    flat = looks.reshape(len(looks), -1)
    look, pixels, strength = _strokes(flat[stands], flat[moves])
    away = np.abs(flat[:, pixels] - look)
    away /= np.maximum(away[moves].mean(axis=0), 1)
    steps = np.abs(np.diff(away, axis=0, prepend=away[:1]))
    for picture in np.flatnonzero(places == 0.5):
        sides = away[:picture].mean(axis=0), away[picture:].mean(axis=0)
        together = (steps[picture] > _AT_ONCE_STEP) & (np.abs(sides[0] - sides[1]) > _AT_ONCE_STEP)
        if picture and strength[together].sum() > _LEAST_AT_ONCE * strength.sum():
            at = int(picture)
            return Transition(at - 1, at, at, at)
    return change


def _strokes(
    stands: NDArray[np.int16], moves: NDArray[np.int16]
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]]:
    """Return the look, place and weight of pixels that are constant on one side and never so on the other."""
    look = stands.mean(axis=0, dtype=np.float32)
    apart = np.abs(moves - look.astype(np.int16)).min(axis=0)
    weight = (apart - (stands.max(axis=0) - stands.min(axis=0)) - _NOISE).astype(np.float32)
    pixels = np.flatnonzero(weight > 0)
    if len(pixels) > _MOST_PIXELS:
        pixels = np.sort(pixels[np.argpartition(weight[pixels], -_MOST_PIXELS)[-_MOST_PIXELS:]])
    return look[pixels], pixels, weight[pixels]
