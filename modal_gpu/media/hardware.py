"""Decoding on an NVIDIA GPU (NVDEC), and the choice between it and software.

FFmpeg's own decoder of a codec reads packets and headers as usual; only the pictures are made by the GPU and
copied to memory as NV12 or P010, which hold the same samples as the planar formats that software returns.
Software decodes a file that the GPU cannot (:func:`reason_for_software`), one that it refuses or begins to
decode wrongly (:func:`frames_of_gpu`), and one that is known to be damaged: the GPU does not report errors
inside a picture, and guesses it in its own way.
"""

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import av
from av.codec import Codec
from av.codec.hwaccel import HWAccel
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from modal_gpu.media import pyav
from modal_gpu.media.pixels import PLANAR_OF_GPU
from modal_gpu.media.probe import VideoInfo, frame_pts
from modal_gpu.media.pyav import VideoPacket
from modal_gpu.media.report import DecodeReport

#: FFmpeg's decoders that hand pictures to NVDEC. AV1 has libdav1d here, which does not.
_CODECS = {"h264", "hevc", "vp9", "vp8", "mpeg2video"}
#: Formats of 4:2:0 pictures, and the codecs whose 10-bit ones every GPU of the last years decodes.
_EIGHT_BIT, _TEN_BIT = {"yuv420p", "yuvj420p"}, {"yuv420p10le"}
_TEN_BIT_CODECS = {"hevc", "vp9"}
#: Formats of the frames that come from a GPU.
GPU_FORMATS = PLANAR_OF_GPU.keys()

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoding:
    """One way to decode a file: on the GPU, or with a number of threads (0: one per core)."""

    threads: int = 0
    gpu: bool = False


def ways(threads: int, gpu: bool) -> list[Decoding]:
    """Return the ways to decode a file, in the order in which they are tried.

    The last one is a single thread, which always guesses damaged pictures alike.
    """
    found = [Decoding(1, gpu=True)] if gpu else []
    return [*found, Decoding(threads), Decoding(1)] if threads != 1 else [*found, Decoding(1)]


def reason_for_software(info: VideoInfo) -> str:
    """Return why software has to decode a video, or an empty string if a GPU can."""
    width, height = info.coded_size
    if info.codec not in _CODECS:
        return f"codec {info.codec}"
    if info.pixel_format not in _EIGHT_BIT | (_TEN_BIT if info.codec in _TEN_BIT_CODECS else set()):
        return f"pixel format {info.pixel_format}"
    if width % 2 or height % 2:
        return f"an odd size, {width}×{height}"
    if info.ended_early:
        return "the file ends early"
    return ""


def decodes(info: VideoInfo) -> bool:
    """Return whether to begin with the GPU: there is one, and nothing about the video is against it."""
    reason = reason_for_software(info) or no_gpu()
    if reason:
        _log.info("decoding in software: %s", reason)
    return not reason


@lru_cache(maxsize=1)
def no_gpu() -> str:
    """Return why this process cannot decode on a GPU, or an empty string if it can."""
    try:
        acceleration().create(Codec("h264", "r"))
    except (av.FFmpegError, NotImplementedError) as error:  # no device; FFmpeg built without CUDA
        return f"no CUDA device ({pyav.one_line(error)})"
    return ""


def acceleration() -> HWAccel:
    """Return PyAV's setting for NVDEC. A stream that the GPU does not take is decoded in software."""
    return HWAccel("cuda", allow_software_fallback=True)


def frames_of_gpu(
    decode: Callable[[Iterable[VideoPacket], VideoStream, DecodeReport], Iterator[VideoFrame]],
    packets: Iterable[VideoPacket],
    stream: VideoStream,
    report: DecodeReport,
    first_pts: int,
) -> Iterator[VideoFrame]:
    """Yield what ``decode`` yields; count a failure where software would yield something else.

    That is a frame that software made after all, on this decoder's only thread, or a packet from
    ``first_pts`` on whose frame is missing.
    """
    expected: list[int] = []

    def watched() -> Iterator[VideoPacket]:
        for packet in packets:
            pts = pyav.ticks(packet.pts)
            if packet.size and not packet.is_discard and pts is not None and pts >= first_pts:
                heapq.heappush(expected, pts)
            yield packet

    for frame in decode(watched(), stream, report):
        if frame.format.name not in GPU_FORMATS:
            report.gpu_failures += 1
        pts = frame_pts(frame)
        while pts is not None and expected and expected[0] <= pts:
            report.gpu_failures += heapq.heappop(expected) < pts
        yield frame
    report.gpu_failures += len(expected)
