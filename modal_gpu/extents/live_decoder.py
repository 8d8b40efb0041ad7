"""Caption extents while a video is still being judged, as soon as later frames can hardly change them.

The decoder needs the scores of the whole video (:mod:`modal_gpu.extents.decoder`). This one decodes the
newest part again with each batch and reports what lies far enough behind its end. Nearly all of its extents
are also those of the whole video; who uses them compares.
"""

import numpy as np

from modal_gpu.extents.decoder import Extent, decode, settings_for
from modal_gpu.extents.predictor import FloatArray, PairBatch, predictions

#: Frames before the newest one whose states later frames may still change.
_GUARD = 12
#: Frames before the oldest open one that are decoded too, since a border keeps others at a distance.
_CONTEXT = 16
#: A caption longer than this many frames is given up, because each batch decodes all of it again.
_LONGEST = 6000


class LiveDecoder:
    """Decodes a video's batches, which come in order from index 0."""

    def __init__(self, model_version: str) -> None:
        self._settings = settings_for(model_version)
        #: Scores from index ``_first`` on.
        self._presence: FloatArray = np.zeros(0, np.float32)
        self._same: FloatArray = np.zeros(0, np.float32)
        self._first = 0
        self._open = 0

    @property
    def open_index(self) -> int:
        """The first frame whose caption has not been reported; frames before it are no longer needed."""
        return self._open

    def add(self, batch: PairBatch) -> list[Extent]:
        """Return the extents that ended since the last call, as indices of the video."""
        self._presence = np.concatenate([self._presence, batch.presence])
        self._same = np.concatenate([self._same, batch.same])
        return self._report(self._end - _GUARD)

    def finish(self) -> list[Extent]:
        """Return the remaining extents, after the last batch."""
        return self._report(self._end + 1)

    @property
    def _end(self) -> int:
        return self._first + len(self._presence)

    def _report(self, before: int) -> list[Extent]:
        """Return the open extents that end before an index, and move on."""
        found = [
            Extent(extent.start + self._first, extent.end + self._first, extent.confidence)
            for extent in decode(predictions(self._presence, self._same[1:]), self._settings)
        ]
        rest = [extent for extent in found if extent.start >= self._open]
        final = [extent for extent in rest if extent.end < before]
        following = next((extent.start for extent in rest if extent.end >= before), before)
        least = self._end - _LONGEST
        self._open = max(self._open, min(following, before), least)
        stale = max(0, self._open - _CONTEXT - self._first)
        self._first += stale
        self._presence, self._same = self._presence[stale:], self._same[stale:]
        return final
