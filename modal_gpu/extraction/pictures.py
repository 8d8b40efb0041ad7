"""The frames of captions, taken from the pass that judges them."""

import bisect
import threading
from collections.abc import Callable, Sequence

from modal_gpu.captions.median import sample_indices
from modal_gpu.extents.decoder import Extent
from modal_gpu.extents.live_decoder import LiveDecoder
from modal_gpu.extents.predictor import PairBatch
from modal_gpu.media.frames import CroppedFrame

#: Most bytes of strips that are held: 40 s of a usual strip of 720p.
HELD_BYTES = 96 * 2**20
#: A median of fewer frames than this does not remove the picture behind the text, if the caption has more.
LEAST_FRAMES = 8

#: Receives a caption ``[start, end)`` and the frames for its median.
Found = Callable[[int, int, Sequence[CroppedFrame]], None]


class CaptionPictures:
    """Holds strips until they are judged, and hands each caption's to ``found`` when it has ended.

    It is a :class:`~modal_gpu.functions.crop_infer.StripWatcher`; ``found`` is called in the predictor's
    thread. If a caption is so long that its strips exceed ``held_bytes``, it gets fewer of them.
    """

    def __init__(self, model_version: str, found: Found, held_bytes: int = HELD_BYTES) -> None:
        self._decoder = LiveDecoder(model_version)
        self._found, self._held_bytes = found, held_bytes
        self._lock = threading.Lock()
        self._frames: list[CroppedFrame] = []

    def frame(self, frame: CroppedFrame) -> None:
        """Hold a strip."""
        with self._lock:
            # Without the pictures of source frames.
            self._frames.append(CroppedFrame(frame.index, frame.yuv, frame.seconds, frame.matrix))
            if len(self._frames) > max(2, self._held_bytes // frame.yuv.nbytes):
                del self._frames[1::2]

    def batch(self, batch: PairBatch) -> None:
        """Hand out the captions that are known to have ended by now."""
        self._hand_out(self._decoder.add(batch))

    def finish(self) -> None:
        """Hand out the last captions, after the last batch."""
        self._hand_out(self._decoder.finish())

    def _hand_out(self, extents: Sequence[Extent]) -> None:
        for extent in extents:
            with self._lock:
                chosen = self._chosen(extent)
            if chosen:
                self._found(extent.start, extent.end, chosen)
        with self._lock:
            gone = bisect.bisect_left(self._frames, self._decoder.open_index, key=lambda held: held.index)
            del self._frames[:gone]

    def _chosen(self, extent: Extent) -> list[CroppedFrame]:
        """Return the held frames nearest to those that the median takes; none if there are too few."""
        first, last = (
            bisect.bisect_left(self._frames, index, key=lambda held: held.index)
            for index in (extent.start, extent.end)
        )
        inside = self._frames[first:last]
        if not inside:
            return []
        wanted = sample_indices(extent.start, extent.end)
        nearest = (min(inside, key=lambda held: abs(held.index - index)) for index in wanted)
        chosen = {held.index: held for held in nearest}
        return list(chosen.values()) if len(chosen) >= min(len(wanted), LEAST_FRAMES) else []
