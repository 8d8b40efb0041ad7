"""``python -m benchmarks.memory``: the memory of each stage by length, and that of very large frames.

``stages VIDEO --minutes 10 --minutes 120`` repeats a video to each length and samples the resident set while
the pipeline runs. ``frames [WIDTHxHEIGHT] [FRAMES]`` makes a clip, reads full frames and full-frame crops in
chunks in a separate process, and prints that process's peak resident set. MB are 2^20 bytes.
"""

import resource
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.stage_memory import measure


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


app = typer.Typer(add_completion=False)


@app.command()
def stages(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    minutes: Annotated[list[float], typer.Option(help="lengths to repeat the video to")],
) -> None:
    """Print the memory of each stage for a video repeated to each length."""
    table = Table(
        "minutes", "stage", "peak MB", "first quarter", "last quarter", title=video.name, title_justify="left"
    )
    for length in minutes:
        for one in measure(video, length):
            figures = (f"{size / 2**20:.0f}" for size in (one.peak, one.early, one.late))
            table.add_row(f"{length:g}", one.stage, *figures)
        table.add_section()
    Console().print(table)


@app.command()
def frames(size: str = typer.Argument("7680x4320"), count: int = typer.Argument(40)) -> None:
    """Print the peak memory of reading ``count`` frames of WIDTHxHEIGHT pixels."""
    width, height = map(int, size.split("x"))
    print(f"{size}, {count} frames: peak {peak_megabytes(width, height, count)} MB")


@app.command(hidden=True)
def make(path: Path, size: str, count: int) -> None:
    """Write the clip."""
    width, height = map(int, size.split("x"))
    make_clip(path, width, height, count)


@app.command(hidden=True)
def read(path: Path) -> None:
    """Read the clip, and print this process's peak."""
    read_everything(path)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    app()
