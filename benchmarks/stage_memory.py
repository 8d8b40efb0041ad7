"""Memory of each stage by the length of the video: the clip is repeated, and each run has its own process."""

import json
import math
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import mean

import av
import psutil

from benchmarks.pipeline import Steps
from modal_gpu.extraction.extraction import extract_captions
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.media.probe import probe
from modal_gpu.media.pyav import time_base

#: Seconds between two samples.
_INTERVAL = 0.02


@dataclass(frozen=True)
class StageMemory:
    """Resident set of a stage in bytes: its peak, and its means over the first and the last quarter."""

    stage: str
    peak: int
    early: float
    late: float


class Sampler:
    """Samples of this process's resident set, by stage."""

    def __init__(self) -> None:
        self.stages: list[StageMemory] = []
        self._process = psutil.Process()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Sample during the ``with`` block."""
        samples, ended = [self._process.memory_info().rss], threading.Event()

        def sample() -> None:
            while not ended.wait(_INTERVAL):
                samples.append(self._process.memory_info().rss)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            quarter = max(1, len(samples) // 4)
            early, late = mean(samples[:quarter]), mean(samples[-quarter:])
            self.stages.append(StageMemory(name, max(samples), early, late))


def repeat(video: Path, target: Path, seconds: float) -> None:
    """Write the video's packets to ``target`` again and again until it lasts ``seconds``; no re-encoding."""
    turn = Fraction(probe(video).duration)
    with av.open(str(target), "w") as output:
        stream = None
        for number in range(math.ceil(seconds / turn)):
            with av.open(str(video)) as source:
                template = source.streams.video[0]
                stream = stream or output.add_stream_from_template(template)
                base = time_base(template)
                shift = round(number * turn / base)
                for packet in source.demux(template):
                    if packet.pts is None or packet.dts is None or packet.pts + shift >= seconds / base:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    output.mux(packet)


def _run(run: str, video: Path, work: Path) -> list[StageMemory]:
    """Run the stages of one of the graph's two runs, or ``extract``, in this process; sample its memory."""
    sampler, steps = Sampler(), Steps(video, work)
    if run == "extract":
        with sampler.stage("captionacc extract"):
            extract_captions(video, ComputeSettings())
    elif run == "layout":
        with sampler.stage("frames, OCR, layout"):
            steps.read_frames()
    else:
        with sampler.stage("crops, chunks, pairs"):
            steps.crop_and_judge()
        with sampler.stage("captions, caption OCR"):
            steps.read_captions(steps.captions(float(probe(video).duration)))
    return sampler.stages


def measure(video: Path, minutes: float) -> list[StageMemory]:
    """Return the memory of each stage for a video repeated to ``minutes``, in two processes as in the graph.

    The last row is of ``captionacc extract``, which does everything in one process.
    Raises ``CalledProcessError`` if a run fails.
    """
    with tempfile.TemporaryDirectory(prefix="captionacc-memory-") as folder:
        clip, work = Path(folder) / "long.mp4", Path(folder) / "bucket"
        repeat(video, clip, minutes * 60)
        work.mkdir()
        stages = []
        for run in ("layout", "captions", "extract"):
            command = [sys.executable, "-m", "benchmarks.stage_memory", run, str(clip), str(work)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            stages += [StageMemory(*row) for row in json.loads(said.splitlines()[-1])]
        return stages


if __name__ == "__main__":
    found = _run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    print(json.dumps([[one.stage, one.peak, one.early, one.late] for one in found]))
