"""Code injected into the platform's processes: it records a run's steps, and ends the run at one.

Installed by ``tests.faults.definitions`` in a code server and in its run processes, never in the product. A
step is everything that others can see: an object put into the bucket, a call that changes the catalogue, an
event in Dagster's log. What is planned for a video lies in files, so that it outlives the process that it
kills:

    VIDEO.plan            the faults, as JSON
    VIDEO.trace           the steps so far, a line each
    VIDEO.0.fired         fault 0 has happened
    VIDEO.0.go            the process that fault 0 holds may go on
"""

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

#: Environment variable with the folder of plans; without it nothing is installed.
FOLDER = "CAPTIONACC_TEST_FAULTS"
#: Seconds that a held process waits for the test.
_HELD_SECONDS = 120

_OBJECTS = {
    r"pictures/[a-z_]+-[0-9a-f]{12}\.(jpg|png)": "picture",
    r"full_frames/frame_\d+\.jpg": "full frame",
    r"full_frames_thumbnails/frame_\d+\.jpg": "thumbnail",
    r"raw-ocr\.db\.gz": "raw-ocr.db",
    r"layout\.db\.gz": "layout.db",
    r"modulo_\d+/chunk_\d+\.webm": "chunk",
    r"caption_frame_extents_v\d+\.db\.gz": "extents.db",
    r"captions\.db\.gz": "captions.db",
    r"captions\.srt": "captions.srt",
    r"captions\.vtt": "captions.vtt",
}
#: Calls without lasting effects, and those whose number depends on the time.
_UNSEEN = {"ensure_tenant", "renew_lock", "report_progress", "tenant_limits", "tenant_costs"}


@dataclass(frozen=True)
class Fault:
    """The fault at a step of an asset: the ``nth`` time in a process, before or after it.

    ``asset`` is the step's name in Dagster, ``step`` such as ``put layout.db`` or ``finish_layout``.
    """

    asset: str
    step: str
    when: Literal["before", "after"] = "after"
    nth: int = 1
    do: Literal["kill", "hold"] = "kill"


def step_of_object(key: str) -> str:
    """Return the kind of an object regardless of its number, or its name if it is none of the known ones."""
    for pattern, name in _OBJECTS.items():
        if re.search(rf"/{pattern}$", key):
            return f"put {name}"
    return f"put {key.rpartition('/')[2]}"


class Injection:
    """The steps of the run in this process, once it has begun a stage."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.RLock()
        self._video: str | None = None
        self._asset = ""
        self._seen: Counter[tuple[str, str]] = Counter()

    def begin_asset(self, asset: str) -> None:
        with self._guard:
            self._asset = asset
            self._seen.clear()

    @contextmanager
    def step(self, step: str, video_id: str | None = None) -> Iterator[None]:
        """Surround a step; only a run names a video."""
        self._video = video_id or self._video
        if self._video is None:
            yield
            return
        with self._guard:
            asset = self._asset
            self._seen[asset, step] += 1
            nth = self._seen[asset, step]
        self._at(asset, step, nth, "before")
        yield
        done = {"asset": asset, "step": step, "nth": nth, "process": os.getpid(), "at": time.time()}
        with (self._folder / f"{self._video}.trace").open("a") as trace:
            trace.write(json.dumps(done) + "\n")
        self._at(asset, step, nth, "after")

    def _at(self, asset: str, step: str, nth: int, when: str) -> None:
        plan = self._folder / f"{self._video}.plan"
        if not plan.exists():
            return
        for number, entry in enumerate(json.loads(plan.read_text())):
            fault = Fault(**entry)
            if (fault.asset, fault.step, fault.nth, fault.when) != (asset, step, nth, when):
                continue
            fired = self._folder / f"{self._video}.{number}.fired"
            try:
                fired.open("x").close()
            except FileExistsError:
                continue
            if fault.do == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            self._hold(fired.with_suffix(".go"))

    def _hold(self, go: Path) -> None:
        deadline = time.monotonic() + _HELD_SECONDS
        while not go.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody let this process go on: {go}")
            time.sleep(0.01)


def install() -> None:
    """Wrap the bucket's put, the catalogue's calls and Dagster's events in this process, if requested."""
    if FOLDER not in os.environ:
        return
    from dagster import DagsterEventType, DagsterInstance

    from captionacc_dagster.resources.catalog.postgres import PostgresTransport
    from modal_gpu.storage import ObjectStore

    injection = Injection(Path(os.environ[FOLDER]))
    put, call, handle = ObjectStore.put, PostgresTransport.call, DagsterInstance.handle_new_event

    @wraps(put)
    def watched_put(self: ObjectStore, key: str, *arguments: Any, **options: Any) -> None:
        with injection.step(step_of_object(key)):
            put(self, key, *arguments, **options)

    @wraps(call)
    def watched_call(
        self: PostgresTransport, function: str, arguments: Mapping[str, Any], *, repeatable: bool = False
    ) -> Any:
        if function in _UNSEEN:
            return call(self, function, arguments, repeatable=repeatable)
        # Only runs begin stages; calls of the sensors in the code server do not count.
        begun = arguments["video_id"] if function == "begin_stage" else None
        with injection.step(function, begun):
            return call(self, function, arguments, repeatable=repeatable)

    @wraps(handle)
    def watched_event(self: DagsterInstance, event: Any, **options: Any) -> None:
        entry = event.dagster_event
        kind = entry.event_type if entry else None
        if kind == DagsterEventType.STEP_START:
            injection.begin_asset(entry.step_key)
        if kind == DagsterEventType.ASSET_MATERIALIZATION:
            with injection.step(f"materialize {entry.asset_key.to_user_string()}"):
                return handle(self, event, **options)
        if kind == DagsterEventType.STEP_SUCCESS:
            with injection.step("end the step"):
                return handle(self, event, **options)
        return handle(self, event, **options)

    ObjectStore.put = watched_put
    PostgresTransport.call = watched_call
    DagsterInstance.handle_new_event = watched_event


class Plans:
    """The tests' side of the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def plan(self, video_id: str, faults: list[Fault]) -> None:
        (self.folder / f"{video_id}.plan").write_text(json.dumps([asdict(fault) for fault in faults]))

    def has_fired(self, video_id: str, number: int = 0) -> bool:
        return (self.folder / f"{video_id}.{number}.fired").exists()

    def fired_at(self, video_id: str, number: int = 0) -> float:
        """Return when a fault happened, as a Unix time."""
        return (self.folder / f"{video_id}.{number}.fired").stat().st_mtime

    def let_go(self, video_id: str, number: int = 0) -> None:
        (self.folder / f"{video_id}.{number}.go").touch()

    @property
    def modal_folder(self) -> Path:
        """Return the folder of the stand-in for Modal."""
        return self.folder / "modal"

    def put_on_modal(self, video_id: str, *, silent: bool = False) -> None:
        """Send the video's calls to the stand-in; a silent one accepts calls and answers nothing."""
        (self.folder / f"{video_id}.modal").touch()
        if silent:
            (self.folder / f"{video_id}.silent").touch()

    def end_silence(self, video_id: str) -> None:
        (self.folder / f"{video_id}.silent").unlink()

    def is_on_modal(self, video_id: str) -> bool:
        return (self.folder / f"{video_id}.modal").exists()

    def modal_is_silent(self, video_id: str) -> bool:
        return (self.folder / f"{video_id}.silent").exists()

    def trace(self, video_id: str) -> list[dict[str, Any]]:
        """Return the steps of a video's runs, in order."""
        path = self.folder / f"{video_id}.trace"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
