"""Encoding of drawn frames: the sample's, and those of benchmarks."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from captionacc_dagster.demo.scenes import Frame


def write_video(
    path: Path,
    frames: Iterable[Frame],
    size: tuple[int, int],
    rate: int,
    *,
    crf: int = 24,
    preset: str = "veryfast",
) -> None:
    """Write RGB frames, uint8 (height, width, 3), as H.264 in MP4, or MPEG-4 where PyAV has no x264.

    ``size`` is (width, height), both even; ``rate`` is in frames per second; ``crf`` and ``preset`` are
    options of x264.
    The same frames produce the same bytes.
    """
    with av.open(str(path), "w", format="mp4") as container:
        if "libx264" in av.codecs_available:
            # x264's output depends on the number of threads. With its macroblock tree, the assembler code of
            # PyAV's build makes it depend on the content of unused memory as well.
            options = {"preset": preset, "crf": str(crf), "threads": "2", "x264-params": "mbtree=0"}
            stream = container.add_stream("libx264", rate=rate, options=options)
        else:
            stream = container.add_stream("mpeg4", rate=rate, options={"qscale": "4", "threads": "1"})
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        stream.time_base = Fraction(1, rate)
        for index, frame in enumerate(frames):
            planes: Frame = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), np.uint8)
            picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
