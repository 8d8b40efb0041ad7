"""A complete platform that a test may disturb: catalogue, bucket, Dagster's daemon, code server and runs.

Everything is real and belongs to one temporary home. The processes load ``tests.faults.definitions`` in the
place of the product's module, which loads it and watches its steps.
"""

import gzip
import hashlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from captionacc_dagster.constants import LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.demo.sample import SampleCaption, make_sample
from captionacc_dagster.platform import dagster_home as product
from captionacc_dagster.platform import services as platform_services
from captionacc_dagster.resources.catalog import STAGES, VideoRow
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate
from captionacc_dagster.resources.opening import open_object_store
from captionacc_dagster.settings import Settings, get_settings
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore
from tests.faults.injection import FOLDER, Fault, Plans
from tests.full_catalog import FullCatalog, connected

REPOSITORY = Path(__file__).resolve().parents[2]
DEFINITIONS = "tests.faults.definitions"
#: Intervals of the daemon in seconds; 5 s in the product.
QUICK = {"DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1"}
QUICK_YAML = {
    "poll_interval_seconds: 10": "poll_interval_seconds: 2",
    "free_slots_after_run_end_seconds: 10": "free_slots_after_run_end_seconds: 1",
    "user_code_failure_retry_delay: 30": "user_code_failure_retry_delay: 2",
}
_LONG_SECONDS = 300
#: Variables of this machine's environment that must not reach the platform.
_FOREIGN = ("CAPTIONACC_", "WASABI_", "AWS_", "DAGSTER", "MODAL_", "SUPABASE_", "OCR_", "EXTENTS_")
_CAPTIONS = (
    SampleCaption(0.4, 1.48, "The tide is out."),
    SampleCaption(1.48, 2.6, "Nobody is at the pier."),
)
_SECONDS = 3


def make_clip(folder: Path) -> Path:
    """Three seconds with two captions, back to back."""
    path = folder / "pier.mp4"
    make_sample(path, captions=_CAPTIONS, duration=_SECONDS, size=(480, 270))
    return path


@dataclass
class Platform:
    """A running platform, with the ways in which a test can disturb it."""

    home: Path
    settings: Settings
    catalog: FullCatalog
    store: ObjectStore
    plans: Plans
    instance: dg.DagsterInstance
    services: platform_services.Services
    postgres: EmbeddedPostgres
    clip: Path
    uploaded: dict[str, float] = field(default_factory=dict)

    def upload(self, *faults: Fault, modal: bool = False, silent: bool = False) -> str:
        """Upload a new video that these faults wait for; on the stand-in for Modal if requested."""
        keys = VideoKeys(LOCAL_TENANT_ID, str(uuid.uuid4()))
        self.plans.plan(keys.video_id, list(faults))
        if modal:
            self.plans.put_on_modal(keys.video_id, silent=silent)
        self.store.upload(self.clip, keys.video, "video/mp4")
        self.catalog.register_video(
            LOCAL_TENANT_ID, keys.video_id, keys.video, self.clip.stat().st_size, self.clip.name
        )
        self.uploaded[keys.video_id] = time.monotonic()
        return keys.video_id

    def row(self, video_id: str) -> VideoRow:
        return self.catalog.get_video(video_id)

    def runs(self, video_id: str, job: str | None = None) -> list[dg.DagsterRun]:
        """The video's runs, oldest first."""
        chosen = dg.RunsFilter(tags={".dagster/captionacc-video-id": video_id}, job_name=job)
        return list(self.instance.get_runs(chosen, ascending=True))

    def events(self, video_id: str, kind: dg.DagsterEventType) -> list[str]:
        """Messages of one kind in the logs of the video's runs."""
        return [
            entry.dagster_event.message or ""
            for run in self.runs(video_id)
            for entry in self.instance.all_logs(run.run_id, of_type=kind)
        ]

    def until(self, what: str, condition: Callable[[], Any], seconds: float = _LONG_SECONDS) -> Any:
        """Return the first true result of ``condition``, or fail the test with the processes' logs."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not within {seconds:.0f} s\n{self.logs()}")
            time.sleep(0.1)
        return value

    def is_settled(self, video_id: str) -> bool:
        """Return whether the video is finished, and Dagster has no more work for it."""
        row = self.row(video_id)
        if row.error is not None or row.text.status != "annotate":
            return False
        runs = self.runs(video_id)
        return all(run.is_finished for run in runs) and runs[-1].status == dg.DagsterRunStatus.SUCCESS

    def wait_settled(self, video_id: str, seconds: float = _LONG_SECONDS) -> float:
        """Wait for the end of all work on a video, and return the seconds since its upload."""

        def settled() -> bool:
            row = self.row(video_id)
            assert row.error is None, f"{row.error}\n{self.logs()}"
            return self.is_settled(video_id)

        self.until(f"the end of {video_id}", settled, seconds)
        return time.monotonic() - self.uploaded[video_id]

    def wait_fired(self, video_id: str, number: int = 0) -> None:
        self.until(f"fault {number} of {video_id}", lambda: self.plans.has_fired(video_id, number))

    def published(self, video_id: str) -> dict[str, Any]:
        """Return what clients read: each database's rows, without times and run ids, and the subtitles."""
        keys = VideoKeys(LOCAL_TENANT_ID, video_id)
        version = self.row(video_id).current_cropped_frames_version
        databases = {
            "raw-ocr": keys.raw_ocr_db,
            "layout": keys.layout_db,
            "extents": keys.caption_frame_extents_db(version),
            "captions": keys.captions_db,
        }
        found: dict[str, Any] = {name: _rows(self.store.get(key)) for name, key in databases.items()}
        found["chunks"] = sorted(
            (info.key.removeprefix(keys.cropped_frames_prefix(version)), _digest(self.store.get(info.key)))
            for info in self.store.list(keys.cropped_frames_prefix(version))
        )
        found["srt"], found["vtt"] = self.store.get(keys.srt).decode(), self.store.get(keys.vtt).decode()
        return found

    def left_over(self, video_id: str) -> list[str]:
        """Return what should not exist once all work on a video is finished."""
        row = self.row(video_id)
        wrong = [stage for stage in ("layout", "boundaries", "text") if row.stage(stage).run_id]
        wrong += [
            f"lock of {lock.database_name}.db"
            for lock in self.catalog.list_locks()
            if lock.video_id == video_id
        ]
        versions = self.catalog.list_cropped_frames_versions(video_id)
        wrong += [f"version {v.version} is {v.status}" for v in versions if v.status == "processing"]
        if sum(v.status == "active" for v in versions) != 1:
            wrong.append("not one active version")
        calls = self.catalog.list_compute_calls(video_id=video_id, open_only=True)
        wrong += [f"{call.function_name} is {call.status}" for call in calls]
        return wrong + [run.run_id for run in self.runs(video_id) if not run.is_finished]

    def logs(self) -> str:
        """Return the state of every video, and the warnings of the processes."""
        lines = []
        for video_id in self.uploaded:
            row = self.row(video_id)
            stages = {stage: (row.stage(stage).status, row.stage(stage).run_id) for stage in STAGES}
            lines += [f"{video_id} {stages} {row.error or ''}"]
            lines += [f"    {run.job_name} {run.run_id} {run.status.value}" for run in self.runs(video_id)]
        for log in sorted(self.services.log_folder.glob("*.log")):
            told = [line for line in log.read_text(errors="replace").splitlines() if _is_telling(line)]
            lines += [f"--- {log.name}", *told[-40:]]
        return "\n".join(lines)


def _quick_yaml(settings: Settings) -> str:
    """Return the product's ``dagster.yaml`` with shorter intervals, and without the line that marks it."""
    text = product.dagster_yaml(settings).split("\n", 1)[1]
    for old, new in QUICK_YAML.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_telling(line: str) -> bool:
    return not any(word in line for word in ("INFO", "DEBUG", "PreviewWarning", "spec = AssetCheckSpec"))


def _rows(packed: bytes) -> dict[str, list[tuple]]:
    """Return the rows of every table of a database, without its metadata and without times."""
    connection = sqlite3.connect(":memory:")
    with closing(connection):
        connection.deserialize(gzip.decompress(packed))
        tables = [
            name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
        ]
        found = {}
        for table in sorted(tables):
            if table.startswith("sqlite_") or table.endswith("_metadata"):
                continue
            columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
            kept = ", ".join(name for name in columns if not name.endswith("_at"))
            found[table] = sorted(connection.execute(f"select {kept} from {table}").fetchall(), key=repr)
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_process(platform: Platform, run_id: str) -> psutil.Process:
    """Return the process of a run."""
    for entry in platform.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if found := re.search(r"Started process for run \(pid: (\d+)\)", entry.dagster_event.message or ""):
            return psutil.Process(int(found[1]))
    raise AssertionError(f"run {run_id} has no process yet")


@contextmanager
def running_platform(
    clip: Path,
    *,
    environment: dict[str, str] | None = None,
    configure: Callable[[str], str] = lambda text: text,
    storage: str = "",
) -> Iterator[Platform]:
    """Run a platform in a new home, and remove everything at the end.

    ``configure`` changes its ``dagster.yaml``; ``storage`` is a section of it, with ``{url}`` for a database
    of the embedded server.
    """
    # Not under pytest's own folder: that one takes back every permission given on it. In memory where
    # there is such a place: a slow disk is no fault to try here.
    memory = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(prefix="captionacc-faults-", dir=memory if memory.is_dir() else None))
    postgres = EmbeddedPostgres(home, settings={"fsync": "off"})
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
            patch.delenv(name)
        chosen = {
            "CAPTIONACC_HOME": str(home),
            "CAPTIONACC_DATABASE_URL": postgres.ensure_running(),
            "CAPTIONACC_MAX_RUNS": "3",
            "CAPTIONACC_TENANT_RUNS": "3",
            "CAPTIONACC_WORKERS": "1",
            "CAPTIONACC_PORT": str(free_port()),
            # Without a trained model a run starts in half the time.
            "EXTENTS_PREDICTOR": "strokes",
            "PYTHONPATH": str(REPOSITORY),
            FOLDER: str(home / "faults"),
            **QUICK,
            **(environment or {}),
        }
        for name, value in chosen.items():
            patch.setenv(name, value)
        patch.chdir(home)
        patch.setattr(platform_services, "DEFINITIONS_MODULE", DEFINITIONS)
        get_settings.cache_clear()
        settings = Settings(_env_file=None)
        migrate(postgres.dsn())
        # The product sets Dagster's home; it is restored with the rest.
        patch.setenv("DAGSTER_HOME", str(settings.home / "dagster"))
        settings.dagster_home.mkdir(parents=True)
        url = postgres.ensure_running("dagster") if storage else ""
        own = storage.format(url=url.replace("postgresql:", "postgresql+psycopg2:", 1))
        (settings.dagster_home / "dagster.yaml").write_text(configure(_quick_yaml(settings)) + own)
        catalog = connected(postgres.dsn())
        try:
            catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME, auto_approve_layout_confidence=0.0)
            with (
                platform_services.running_services(settings, webserver=False) as services,
                dg.DagsterInstance.get() as instance,
            ):
                store = open_object_store(settings)
                plans = Plans(home / "faults")
                yield Platform(home, settings, catalog, store, plans, instance, services, postgres, clip)
        finally:
            catalog.close()
            get_settings.cache_clear()
            _end_processes(home)
            postgres.stop()
            shutil.rmtree(home, ignore_errors=True)


def _end_processes(home: Path) -> None:
    """End code servers and runs that a killed daemon has left behind."""
    left = []
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("CAPTIONACC_HOME") == str(home):
            process.kill()
            left.append(process)
    psutil.wait_procs(left, 10)


def start_daemon(platform: Platform) -> subprocess.Popen:
    """Start another daemon in place of one that ended, as a supervisor does."""
    platform.services.start_daemon(platform.services.daemon_lock)
    return platform.services.processes["dagster-daemon"]


def kill_daemon(platform: Platform) -> None:
    """Send SIGKILL to the daemon alone; its code server and its runs continue."""
    daemon = platform.services.processes["dagster-daemon"]
    daemon.send_signal(signal.SIGKILL)
    daemon.wait(10)


def servers(run: psutil.Process) -> list[psutil.Process]:
    """Return the parents of a run's process: the one it was forked from, and Dagster's code server."""
    lineage = run.parents()
    server = next(number for number, parent in enumerate(lineage) if "api grpc" in " ".join(parent.cmdline()))
    return lineage[: server + 1]
