"""Frames selected by presentation time: crops at 10 Hz in one pass, or single full frames.

Index ``i`` is the last frame whose presentation time on the index axis (:mod:`modal_gpu.media.clock`) is
at or before ``i / 10`` s. Damage never moves an index: the last good frame replaces missing ones (the
first good frame replaces those before it).
"""

from collections.abc import Iterable, Iterator, Sequence
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

#: Most small pictures between two indices; beyond it every other one is dropped.
MAX_SOURCE_STRIPS = 24


@dataclass(frozen=True, eq=False)
class FullFrame:
    """A full frame: RGB uint8 (H, W, 3), upright, square pixels; ``seconds`` is its presentation time."""

    index: int
    seconds: float
    image: np.ndarray


@dataclass(frozen=True, eq=False)
class SourceStrip:
    """A small picture of one source frame's crop. ``luma``: uint8 (h, w); ``seconds``: presentation time."""

    seconds: float
    luma: np.ndarray


@dataclass(frozen=True, eq=False)
class CroppedFrame:
    """A crop of the upright frame in limited-range 8-bit 4:2:0.

    ``yuv`` is uint8 (h·3/2, w), read-only: h rows of luma, then the U and V planes, the layout of
    ``VideoFrame.to_ndarray(format="yuv420p")``. The indices that show one source frame share the array.
    """

    index: int
    yuv: np.ndarray
    #: Presentation time of the source frame, in seconds on the index axis.
    seconds: float
    #: YCbCr matrix coefficients (ISO/IEC 23091-2).
    matrix: int
    #: If requested: the source frames shown after the previous index, up to this one.
    source: tuple[SourceStrip, ...] = ()

    @property
    def luma(self) -> np.ndarray:
        """Luma (h, w) uint8, 16 to 235, as a view."""
        return self.yuv[: self.yuv.shape[0] * 2 // 3]

    def rgb(self) -> np.ndarray:
        """Return RGB uint8 (h, w, 3)."""
        return yuv420_to_rgb(self.yuv, self.matrix)


@dataclass(frozen=True)
class StripPlace:
    """A place to crop, and the size (height, width) of the small pictures of source frames, if wanted."""

    crop: CropRegion
    source_size: tuple[int, int] | None = None


class _Cropper:
    """Crops of one rectangle, and the small pictures of the source frames between two indices."""

    def __init__(self, place: StripPlace, info: VideoInfo, first_index: int) -> None:
        rectangle = place.crop.pixels(info.width, info.height)
        self._info = info
        self._stored = info.orientation.stored_rectangle(rectangle, info.width, info.height)
        self._first_index, self._source_size = first_index, place.source_size
        self._since: list[SourceStrip] = []

    def watch(self, frames: Iterable[PresentedFrame]) -> Iterator[PresentedFrame]:
        """Yield the frames; take a small picture of each when the next one is requested.

        :func:`frames_with_indices` reads one frame ahead, so when it yields a frame, that frame's picture
        is the last one taken.
        """
        for shown in frames:
            yield shown
            if self._source_size is not None and shown.seconds * INDEX_RATE > self._first_index - 1:
                self._add_source(shown, self._source_size)

    def _add_source(self, shown: PresentedFrame, size: tuple[int, int]) -> None:
        info = self._info
        picture = small_luma(shown.frame, info.square_size, info.orientation, self._stored, size)
        self._since.append(SourceStrip(float(shown.seconds), picture))
        if len(self._since) > MAX_SOURCE_STRIPS:
            del self._since[1::2]

    def crop(self, index: int, shown: PresentedFrame) -> CroppedFrame:
        """Return the frame's crop, with the small pictures taken since the last call."""
        yuv = yuv420_crop(shown.frame, self._info.square_size, self._info.orientation, self._stored)
        yuv.flags.writeable = False
        source, self._since = tuple(self._since), []
        return CroppedFrame(index, yuv, float(shown.seconds), matrix_coefficients(shown.frame), source)


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
    gpu: bool = False,
) -> Iterator[CroppedFrame]:
    """Yield the crop of every frame index in ``[first_index, end_index)``, in one pass with bounded memory.

    The rectangle is ``crop.pixels(info.width, info.height)``. Without ``end_index`` the range ends at
    ``info.index_count``. The frames of a part are identical to those of the whole video. With
    ``source_size`` (height, width) each frame also has pictures of that size of the source frames since the
    previous index (for the first: since the index before ``first_index``). With ``gpu``, NVDEC decodes as
    long as it can. Raises the errors of :func:`presented_frames`.
    """
    places = [StripPlace(crop, source_size)]
    for (frame,) in read_strips(
        path,
        places,
        report,
        info=info,
        threads=threads,
        first_index=first_index,
        end_index=end_index,
        gpu=gpu,
    ):
        yield frame


def read_strips(
    path: str | Path,
    places: Sequence[StripPlace],
    report: DecodeReport | None = None,
    *,
    info: VideoInfo | None = None,
    threads: int = 0,
    first_index: int = 0,
    end_index: int | None = None,
    gpu: bool = False,
) -> Iterator[tuple[CroppedFrame, ...]]:
    """Yield what :func:`read_cropped_frames` does for each of several places, from one decoding pass."""
    info = info or probe(path)
    report = report if report is not None else DecodeReport()
    croppers = [_Cropper(place, info, first_index) for place in places]
    if first_index:
        # From the previous index, for the source frames in between.
        frames = presented_frames_from(path, first_index - 1, report, info=info, threads=threads, gpu=gpu)
    else:
        frames = presented_frames(path, report, info=info, threads=threads, gpu=gpu)
    for cropper in croppers:
        frames = cropper.watch(frames)
    for shown, indices in frames_with_indices(frames, info.index_count, first_index):
        first: tuple[CroppedFrame, ...] = ()
        for index in indices:
            if index == end_index:
                return
            if not first:
                first = tuple(cropper.crop(index, shown) for cropper in croppers)
                yield first
            else:
                yield tuple(CroppedFrame(index, one.yuv, one.seconds, one.matrix) for one in first)


def read_strips_at(
    path: str | Path,
    indices: Iterable[int],
    crop: CropRegion,
    report: DecodeReport | None = None,
    *,
    info: VideoInfo | None = None,
    threads: int = 0,
) -> Iterator[CroppedFrame]:
    """Yield the crop at each of the ascending ``indices``, as :func:`read_cropped_frames` does.

    Only what these frames need is decoded; see :func:`read_full_frames`, whose errors it raises.
    """
    info = info or probe(path)
    report = report if report is not None else DecodeReport()
    cropper = _Cropper(StripPlace(crop), info, 0)
    for index, shown in frames_at(path, _ascending(indices), info, report, threads):
        yield cropper.crop(index, shown)


def read_full_frames(
    path: str | Path,
    indices: Iterable[int],
    report: DecodeReport | None = None,
    *,
    info: VideoInfo | None = None,
    threads: int = 0,
) -> Iterator[FullFrame]:
    """Yield full frames at ascending ``indices``, decoding only from the keyframe before each to the frame.

    Frames that no other frame depends on are skipped where the codec marks them exactly. An index past
    the end yields the last frame. Raises ``ValueError`` for indices that do not ascend, and the errors of
    :func:`presented_frames`.
    """
    info = info or probe(path)
    report = report if report is not None else DecodeReport()
    for index, shown in frames_at(path, _ascending(indices), info, report, threads):
        image = upright_rgb(shown.frame, info.square_size, info.orientation)
        yield FullFrame(index, float(shown.seconds), image)


def _ascending(indices: Iterable[int]) -> list[int]:
    wanted = list(indices)
    if any(later <= earlier for earlier, later in pairwise([-1, *wanted])):
        raise ValueError("frame indices must ascend from 0 or more")
    return wanted
