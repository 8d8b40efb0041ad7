"""One run of a tool on a clip: what it cost, and how good its captions are."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from benchmarks.metrics import evaluate
from benchmarks.peers.clips import Clip
from benchmarks.peers.environments import programs
from benchmarks.peers.tools import Call, Tool
from benchmarks.quality import read_captions

MEGABYTE = 2**20


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds, and the largest sum of its processes' resident sets in bytes."""

    wall: float
    cpu: float
    memory: int


@dataclass(frozen=True)
class Row:
    """A tool's figures on a clip. ``failure`` says why there are none."""

    clip: str
    seconds_of_video: float
    tool: str
    setting: str
    options: Sequence[str]
    measured: str
    times_given: bool = False
    failure: str = ""
    wall: float = 0.0
    cpu: float = 0.0
    memory_mb: float = 0.0
    truth: int = 0
    found: int = 0
    invented: int = 0
    exact_text: int = 0
    both_ends: int = 0
    cer: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class ToolFailedError(Exception):
    """A tool failed or did not end in time; the message says which."""


def stopped(limit: float) -> str:
    """Return the sentence about a tool that took more than ``limit`` CPU seconds."""
    return f"stopped after {limit:.0f} CPU seconds"


def run_measured(command: Sequence[str], log: Path, limit: float, cwd: Path) -> Cost:
    """Run a command with all that it starts, and return what it cost. Its output goes to ``log``.

    Raises :class:`ToolFailedError` if it fails or takes more than ``limit`` CPU seconds.
    """
    started = time.monotonic()
    before = os.times()
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=cwd
        )
        with _Watch(child.pid, limit) as watch:
            status = child.wait()
    after = os.times()
    wall = time.monotonic() - started
    if watch.stopped:
        raise ToolFailedError(stopped(limit))
    if status:
        lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
        raise ToolFailedError(f"exit status {status}: {lines[-1][:200]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, cpu, watch.peak)


class _Watch:
    """Watches a process and its descendants five times a second: memory, and CPU time up to a limit.

    ``peak`` is the largest sum of resident sets in bytes. Over the limit, or when the context ends, what is
    left of the process's group is killed.
    """

    def __init__(self, pid: int, limit: float) -> None:
        self.peak, self.stopped = 0, False
        self._pid, self._limit = pid, limit
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            memory, cpu = self._usage()
            self.peak = max(self.peak, memory)
            if cpu > self._limit:
                self.stopped = True
                self._kill()
                return

    def _usage(self) -> tuple[int, float]:
        """Return the resident bytes and the CPU seconds, those of ended children included."""
        memory, cpu = 0, 0.0
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._pid)
            for process in [root, *root.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess), process.oneshot():
                    memory += process.memory_info().rss
                    times = process.cpu_times()
                    cpu += times.user + times.system + times.children_user + times.children_system
        return memory, cpu


def measure(tool: Tool, setting: str, clip: Clip, cache: Path, limit: float) -> Row:
    """Run a tool on a clip and return its figures, or why it has none.

    Raises :class:`~benchmarks.peers.environments.NotInstalledError` if the tool cannot be had here.
    """
    options = tuple(tool.settings[setting])
    where = programs(tool, cache)
    length = _length(clip.video)
    same = (clip.name, length, tool.name, setting, options, date.today().isoformat(), tool.times_given)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        work = Path(folder)
        # A tool may write beside the video.
        video = work / clip.video.name
        shutil.copy(clip.video, video)
        output = work / "result" / f"{video.stem}.srt"
        output.parent.mkdir()
        times = [(caption.start_s, caption.end_s) for caption in clip.truth]
        (output.parent / "truth.json").write_text(json.dumps(times))
        call = Call(where, replace(clip, video=video), output, options)
        try:
            cost = run_measured(tool.command(call), work / "log.txt", limit, _home(work))
            captions = read_captions(output) if output.exists() else []
        except (ToolFailedError, ValueError) as error:
            return Row(*same, failure=str(error))
    quality = evaluate(clip.truth, captions)
    return Row(
        *same,
        wall=cost.wall,
        cpu=cost.cpu,
        memory_mb=cost.memory / MEGABYTE,
        truth=quality.truth,
        found=quality.found,
        invented=quality.invented,
        exact_text=quality.exact_text,
        both_ends=quality.both_ends,
        cer=quality.cer,
    )


def _home(work: Path) -> Path:
    """Return an empty folder to run in; settings of this project's folder must not count."""
    home = work / "cwd"
    home.mkdir()
    return home


def _length(video: Path) -> float:
    import av

    with av.open(str(video)) as container:
        return (container.duration or 0) / av.time_base


def stored(tool: Tool, setting: str, clip: Clip, cache: Path) -> Row | None:
    """Return an earlier row of the same tool, packages, options and clip, if there is one."""
    path = _place(tool, setting, clip, cache)
    return Row(**json.loads(path.read_text())) if path.exists() else None


def measured(tool: Tool, setting: str, clip: Clip, cache: Path, limit: float, *, again: bool) -> Row:
    """Return an earlier row, or measure and keep it. A failure is only kept if it was the same limit."""
    row = None if again else stored(tool, setting, clip, cache)
    if row is not None and row.failure in ("", stopped(limit)):
        return row
    row = measure(tool, setting, clip, cache, limit)
    path = _place(tool, setting, clip, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(row.to_json()))
    partial.replace(path)
    return row


def _place(tool: Tool, setting: str, clip: Clip, cache: Path) -> Path:
    what = [
        tool.name,
        tool.packages,
        tool.alone,
        tool.settings[setting],
        clip.name,
        clip.video.stat().st_size,
    ]
    return cache / "results" / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]}.json"
