"""The texts of captions whose frames come from the running pass, or from the video again."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from modal_gpu.captions.median import median_image, sample_indices
from modal_gpu.captions.text import TextSettings
from modal_gpu.contracts import CaptionOcrResult, CaptionRange, CropRegion, Progress
from modal_gpu.functions.caption_ocr import read_images
from modal_gpu.functions.feed import Feed
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.media.frames import CroppedFrame, read_strips_at

#: A caption's indices ``[start, end)`` with its frames.
_Found = tuple[int, int, Sequence[CroppedFrame]]
_Texts = dict[tuple[int, int], CaptionOcrResult]


@dataclass(frozen=True)
class TextReader:
    """Reads captions of one zone of one video. ``reading`` selects the lines that belong to a caption."""

    video: Path
    crop_region: CropRegion
    reading: TextSettings
    settings: ComputeSettings

    def read_all(self, found: Iterable[_Found]) -> _Texts:
        """Return the text of each caption, by its range."""
        ranges: list[CaptionRange] = []

        def images() -> Iterator[tuple[CaptionRange, np.ndarray]]:
            for start, end, frames in found:
                ranges.append(CaptionRange(len(ranges), start, end))
                yield ranges[-1], median_image(frame.rgb() for frame in frames)

        workers = self.settings.worker_count
        results = list(read_images(images(), self.reading, self.settings, workers))
        return {(r.start_index, r.end_index): result for r, result in zip(ranges, results, strict=True)}

    def read_again(self, ranges: Sequence[CaptionRange]) -> _Texts:
        """Return the text of captions that do not overlap, from frames that are decoded again."""
        return self.read_all(self._decoded(sorted(ranges, key=lambda r: r.start_index)))

    def _decoded(self, ranges: Sequence[CaptionRange]) -> Iterator[_Found]:
        wanted = [sample_indices(r.start_index, r.end_index) for r in ranges]
        frames = read_strips_at(
            self.video, [index for indices in wanted for index in indices], self.crop_region
        )
        for r, indices in zip(ranges, wanted, strict=True):
            yield r.start_index, r.end_index, [next(frames) for _ in indices]


class LiveTexts:
    """Reads captions in threads of its own while the pass goes on; a context manager.

    An error of the engine is raised by the next :meth:`add`, or by :meth:`recognize`.
    """

    def __init__(self, reader: TextReader, progress: Progress) -> None:
        self._reader, self._progress = reader, progress
        # Few wait: their frames are held.
        self._feed = Feed[_Found, _Texts](reader.read_all, limit=4)
        self._texts: _Texts = {}

    def add(self, start: int, end: int, frames: Sequence[CroppedFrame]) -> None:
        """Read the caption ``[start, end)``; blocks while several wait."""
        self._feed.put((start, end, frames))

    def finish(self) -> None:
        """Wait for the captions that were added."""
        self._texts = dict(self._feed.result())

    def recognize(self, ranges: Sequence[CaptionRange]) -> list[CaptionOcrResult]:
        """Return the captions' texts, in their order; those not read in the pass are read now.

        It is a :data:`~modal_gpu.captions.reading.Recognize`.
        """
        missing = [r for r in ranges if (r.start_index, r.end_index) not in self._texts]
        self._progress("captions", len(ranges) - len(missing), len(ranges))
        if missing:
            self._texts |= self._reader.read_again(missing)
            self._progress("captions", len(ranges), len(ranges))
        return [replace(self._texts[r.start_index, r.end_index], caption_id=r.caption_id) for r in ranges]

    def __enter__(self) -> "LiveTexts":
        self._feed.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.__exit__(kind, error, trace)
