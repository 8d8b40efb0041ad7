"""Frames selected by presentation time: crops at 10 Hz in one pass, or full frames here and there.

Index ``i`` is the last frame whose presentation time, counted from the first presented frame, is
at or before ``i / 10`` s. Damage never moves an index: the last good frame stands in for a missing
stretch (before the first good frame, that one does).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from modal_gpu.contracts import CropRegion
from modal_gpu.media.decoding import PresentedFrame, frames_with_indices, presented_frames
from modal_gpu.media.pixels import matrix_coefficients, upright_rgb, yuv420_crop, yuv420_to_rgb
from modal_gpu.media.probe import VideoInfo, probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.media.seeking import frames_at


@dataclass(frozen=True, eq=False)
class FullFrame:
    """``image``: RGB uint8 (H, W, 3), upright, square pixels; ``seconds``: when its source frame is shown."""

    index: int
    seconds: float
    image: np.ndarray


@dataclass(frozen=True, eq=False)
class CroppedFrame:
    """A crop of the upright frame in limited-range 8-bit 4:2:0.

    ``yuv`` is uint8 (h·3/2, w), read-only: h rows of luma, then the U and V planes, the layout of
    ``VideoFrame.to_ndarray(format="yuv420p")``. A frame that is shown for several indices shares it.
    """

    index: int
    yuv: np.ndarray
    #: When the source frame is shown, in seconds after the first presented frame.
    seconds: float
    #: YCbCr matrix coefficients (ISO/IEC 23091-2).
    matrix: int

    @property
    def luma(self) -> np.ndarray:
        """Luma (h, w) uint8, 16 to 235, a view."""
        return self.yuv[: self.yuv.shape[0] * 2 // 3]

    def rgb(self) -> np.ndarray:
        """RGB uint8 (h, w, 3)."""
        return yuv420_to_rgb(self.yuv, self.matrix)


def read_cropped_frames(
    path: str | Path,
    crop: CropRegion,
    report: DecodeReport | None = None,
    *,
    info: VideoInfo | None = None,
    threads: int = 0,
) -> Iterator[CroppedFrame]:
    """The crop of every frame index, ascending from 0, in one decoding pass with bounded memory.

    The rectangle is ``crop.pixels(info.width, info.height)``. Yields ``info.index_count`` frames
    (more only when the video holds more than its container tells). Raises as :func:`presented_frames`.
    """
    info = info or probe(path)
    rectangle = crop.pixels(info.width, info.height)
    stored = info.orientation.stored_rectangle(rectangle, info.width, info.height)

    def cropped(index: int, shown: PresentedFrame) -> CroppedFrame:
        yuv = yuv420_crop(shown.frame, info.square_size, info.orientation, stored)
        yuv.flags.writeable = False
        return CroppedFrame(index, yuv, float(shown.seconds), matrix_coefficients(shown.frame))

    for shown, indices in frames_with_indices(
        presented_frames(path, report, info=info, threads=threads), info.index_count
    ):
        first: CroppedFrame | None = None
        for index in indices:
            if first is None:
                first = cropped(index, shown)
            yield CroppedFrame(index, first.yuv, first.seconds, first.matrix)


def read_full_frames(
    path: str | Path,
    indices: Iterable[int],
    report: DecodeReport | None = None,
    *,
    info: VideoInfo | None = None,
    threads: int = 0,
) -> Iterator[FullFrame]:
    """Full frames at ascending ``indices``, decoding only from the key frame before each to the frame.

    Frames that no other frame needs are skipped on the way where the codec marks them exactly. An
    index past the end gives the last frame. Raises ``ValueError`` for indices that do not ascend,
    else as :func:`presented_frames`.
    """
    info = info or probe(path)
    report = report if report is not None else DecodeReport()
    wanted = list(indices)
    if any(later <= earlier for earlier, later in pairwise([-1, *wanted])):
        raise ValueError("frame indices must ascend from 0 or more")
    for index, shown in frames_at(path, wanted, info, report, threads):
        image = upright_rgb(shown.frame, info.square_size, info.orientation)
        yield FullFrame(index, float(shown.seconds), image)
