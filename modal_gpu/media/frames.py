"""Frames selected by presentation time: crops at 10 Hz in one pass, or full frames here and there.

Index ``i`` is the last frame whose presentation time on the index axis (:mod:`modal_gpu.media.clock`) is
at or before ``i / 10`` s. Damage never moves an index: the last good frame stands in for a missing
stretch (before the first good frame, that one does).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from modal_gpu.contracts import CropRegion
from modal_gpu.frame_index import INDEX_RATE
from modal_gpu.media.decoding import (
    PresentedFrame,
    frames_with_indices,
    presented_frames,
    presented_frames_from,
)
from modal_gpu.media.pixels import matrix_coefficients, small_luma, upright_rgb, yuv420_crop, yuv420_to_rgb
from modal_gpu.media.probe import VideoInfo, probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.media.seeking import frames_at

#: Small pictures between two indices at most; of more, every other one is dropped.
MAX_SOURCE_STRIPS = 24


@dataclass(frozen=True, eq=False)
class FullFrame:
    """``image``: RGB uint8 (H, W, 3), upright, square pixels; ``seconds``: when its source frame is shown."""

    index: int
    seconds: float
    image: np.ndarray


@dataclass(frozen=True, eq=False)
class SourceStrip:
    """A small picture of one source frame's crop. ``luma``: uint8 (h, w); ``seconds`` as in CroppedFrame."""

    seconds: float
    luma: np.ndarray


@dataclass(frozen=True, eq=False)
class CroppedFrame:
    """A crop of the upright frame in limited-range 8-bit 4:2:0.

    ``yuv`` is uint8 (h·3/2, w), read-only: h rows of luma, then the U and V planes, the layout of
    ``VideoFrame.to_ndarray(format="yuv420p")``. A frame that is shown for several indices shares it.
    """

    index: int
    yuv: np.ndarray
    #: When the source frame is shown, in seconds on the index axis.
    seconds: float
    #: YCbCr matrix coefficients (ISO/IEC 23091-2).
    matrix: int
    #: The source frames that are shown from after the index before until this one, where asked for.
    source: tuple["SourceStrip", ...] = ()

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
    first_index: int = 0,
    end_index: int | None = None,
    source_size: tuple[int, int] | None = None,
) -> Iterator[CroppedFrame]:
    """The crop of every frame index in ``[first_index, end_index)``, in one pass with bounded memory.

    The rectangle is ``crop.pixels(info.width, info.height)``. Without ``end_index``: to the end of the
    video, ``info.index_count``. A part has the very frames of the whole. With ``source_size`` (height,
    width) each frame also has small pictures of that size of the source frames since the one before (from
    a bit before ``first_index`` for the first). Raises as :func:`presented_frames`.
    """
    info = info or probe(path)
    rectangle = crop.pixels(info.width, info.height)
    stored = info.orientation.stored_rectangle(rectangle, info.width, info.height)
    report = report if report is not None else DecodeReport()
    if first_index:
        # From the index before on: the source frames in between are wanted too.
        frames = presented_frames_from(path, first_index - 1, report, info=info, threads=threads)
    else:
        frames = presented_frames(path, report, info=info, threads=threads)
    since: list[SourceStrip] = []

    def cropped(index: int, shown: PresentedFrame) -> CroppedFrame:
        yuv = yuv420_crop(shown.frame, info.square_size, info.orientation, stored)
        yuv.flags.writeable = False
        return CroppedFrame(index, yuv, float(shown.seconds), matrix_coefficients(shown.frame))

    def watched(frames: Iterable[PresentedFrame]) -> Iterator[PresentedFrame]:
        # Before an index is given out, its frame is the last in ``since``; the next comes after it.
        for shown in frames:
            yield shown
            if source_size is not None and shown.seconds * INDEX_RATE > first_index - 1:
                picture = small_luma(shown.frame, info.square_size, info.orientation, stored, source_size)
                since.append(SourceStrip(float(shown.seconds), picture))
                if len(since) > MAX_SOURCE_STRIPS:
                    del since[1::2]

    for shown, indices in frames_with_indices(watched(frames), info.index_count, first_index):
        first: CroppedFrame | None = None
        for index in indices:
            if index == end_index:
                return
            if first is None:
                first = cropped(index, shown)
                source, since[:] = tuple(since), []
            yield CroppedFrame(index, first.yuv, first.seconds, first.matrix, source)
            source = ()


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
