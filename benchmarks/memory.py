"""``python -m benchmarks.memory [WIDTHxHEIGHT] [FRAMES]``: peak memory of reading very large frames.

It makes a clip, reads full frames and full-frame crops in chunks in a separate process, and prints that
process's peak resident set in MB.
"""

import resource
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def make_clip(path: Path, width: int, height: int, frames: int) -> None:
    """Write an H.264 clip of flat pictures at 10 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "crf": "40"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(frames):
            planes = np.full((height * 3 // 2, width), 60 + number, np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_everything(path: Path) -> None:
    """Read a video as the two stages do, on the tallest strip that a layout may have."""
    from modal_gpu.contracts import CropRegion
    from modal_gpu.functions.feed import Feed
    from modal_gpu.media.chunks import write_chunks
    from modal_gpu.media.frames import CroppedFrame, read_cropped_frames, read_full_frames

    for _ in read_full_frames(path, range(0, 10, 2)):
        pass
    with Feed[CroppedFrame, int](
        lambda fed: sum(1 for _ in fed), size=lambda frame: frame.yuv.nbytes
    ) as feed:

        def strips():
            for frame in read_cropped_frames(path, CropRegion(0, 0.5, 1, 1)):
                feed.put(frame)
                yield frame

        for _ in write_chunks(strips()):
            pass
        feed.result()


def peak_megabytes(width: int, height: int, frames: int) -> int:
    """Return the peak memory of a process that reads such a clip."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.mp4"
        subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", "make", str(path), f"{width}x{height}", str(frames)],
            check=True,
        )
        said = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", "read", str(path)],
            check=True,
            capture_output=True,
            text=True,
        )
        return int(said.stdout)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["read"]:
        read_everything(Path(arguments[1]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    if arguments[:1] == ["make"]:
        width, height = map(int, arguments[2].split("x"))
        make_clip(Path(arguments[1]), width, height, int(arguments[3]))
        return
    size = arguments[0] if arguments else "7680x4320"
    width, height = map(int, size.split("x"))
    frames = int(arguments[1]) if len(arguments) > 1 else 40
    print(f"{size}, {frames} frames: peak {peak_megabytes(width, height, frames)} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
