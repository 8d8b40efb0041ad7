"""The strips of a video's stored full frames. A reference picture needs a few of them at a time."""

import bisect
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

#: Luma of a strip, uint8 (height, width).
Luma = NDArray[np.uint8]
#: Returns the strips at some indices, in their order; ``None`` for one that cannot be used.
Load = Callable[[Sequence[int]], Sequence[Luma | None]]


class StoredStrips:
    """Strips of the video's size at some of its indices, loaded when they are asked for.

    So memory does not grow with the length of the video: only the strips of the last request are kept.
    Those that cannot be used count as not there.
    """

    def __init__(self, indices: Iterable[int] = (), load: Load = lambda _: ()) -> None:
        """Take ascending ``indices``."""
        self._indices, self._load = list(indices), load
        self._kept: dict[int, Luma] = {}

    def nearest(self, middle: int, count: int) -> dict[int, Luma]:
        """Return the ``count`` strips nearest to the index ``middle``, as many on either side of it.

        By index, ascending; towards an end of the video more from the other side, and all where there are
        fewer than ``count``.
        """
        while True:
            last = min(max(bisect.bisect(self._indices, middle) + count // 2 + 1, count), len(self._indices))
            chosen = self._indices[max(0, last - count) : last]
            new = [index for index in chosen if index not in self._kept]
            loaded = dict(zip(new, self._load(new) if new else (), strict=True))
            self._kept |= {index: luma for index, luma in loaded.items() if luma is not None}
            if all(index in self._kept for index in chosen):
                self._kept = {index: self._kept[index] for index in chosen}
                return self._kept.copy()
            self._indices = [index for index in self._indices if loaded.get(index, True) is not None]

    def at_step(self, step: int) -> "StoredStrips":
        """Return the same strips by ``index // step``. Indices must be at least ``step`` apart."""
        if step == 1:
            return self
        of = {index // step: index for index in self._indices}
        return StoredStrips(of, lambda chosen: self._load([of[place] for place in chosen]))
