"""``up`` and two ``ingest``s, started in each order; the daemon's owner ends, and the others continue.

The commands are real processes of one home. Each ``ingest`` that stays must end with its captions, one
command at a time has the daemon's role, and in the end nothing is left running but PostgreSQL.
"""

import itertools
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from captionacc_dagster.platform.role_lock import Holder
from captionacc_dagster.platform.services import daemon_lock
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.settings import Settings
from tests.faults.disturbed_platform import REPOSITORY, free_port, make_clip
from tests.faults.table import Healed, Tell

pytestmark = [pytest.mark.faults, pytest.mark.e2e, pytest.mark.xdist_group("faults-services")]

_SECONDS = 240
#: Variables of this machine's environment that must not reach the platform.
_FOREIGN = ("CAPTIONACC_", "WASABI_", "AWS_", "DAGSTER", "MODAL_", "SUPABASE_", "OCR_", "EXTENTS_")


@dataclass
class Command:
    """A command of the platform in a separate process, with its output file."""

    name: str
    process: subprocess.Popen
    output: Path

    def printed(self) -> str:
        return " ".join(self.output.read_text().split())

    def is_running(self) -> bool:
        return self.process.poll() is None


@dataclass
class Home:
    """A separate home, and the commands that a test starts in it."""

    folder: Path
    environment: dict[str, str]
    clip: Path
    commands: list[Command] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings(_env_file=None, CAPTIONACC_HOME=str(self.folder))

    def start(self, *arguments: str) -> Command:
        output = self.folder / "output" / f"{len(self.commands)}.txt"
        output.parent.mkdir(exist_ok=True)
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", "from captionacc_dagster.cli import main; main()", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.commands.append(Command(arguments[0], process, output))
        return self.commands[-1]

    def ingest(self) -> Command:
        """Run `ingest` on a clip with unique bytes."""
        video = self.folder / f"pier-{len(self.commands)}.mp4"
        # With a box that players ignore.
        video.write_bytes(self.clip.read_bytes() + struct.pack(">I4s", 24, b"free") + os.urandom(16))
        return self.start("ingest", str(video))

    def begin(self, name: str) -> Command:
        return self.start("up") if name == "up" else self.ingest()

    def holder(self) -> Holder | None:
        return daemon_lock(self.settings).holder()

    def until(self, what: str, condition: Callable[[], object], seconds: float = _SECONDS):
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not within {seconds:.0f} s\n{self.report()}")
            time.sleep(0.1)
        return value

    def left(self) -> dict[psutil.Process, str]:
        """Return the platform's processes of this home, without PostgreSQL's."""
        found = {}
        for process in psutil.process_iter(["cmdline", "environ"]):
            command = " ".join(process.info["cmdline"] or [])
            is_ours = (process.info["environ"] or {}).get("CAPTIONACC_HOME") == str(self.folder)
            with suppress(psutil.NoSuchProcess):
                if is_ours and process.name() != "postgres" and process.status() != psutil.STATUS_ZOMBIE:
                    found[process] = command
        return found

    def wait_empty(self) -> float:
        """Wait until nothing runs here, and return the seconds that it took."""
        begun = time.monotonic()
        self.until("the end of all processes", lambda: not self.left(), 30)
        return time.monotonic() - begun

    def report(self) -> str:
        lines = [f"holder: {self.holder()}", *self.left().values()]
        for command in self.commands:
            lines += [
                f"--- {command.name} ({command.process.pid}): {command.process.poll()}",
                command.printed(),
            ]
        for log in sorted((self.folder / "logs").glob("*.log")):
            lines += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-15:]]
        return "\n".join(lines)


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="captionacc-faults-"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)} | {
        "CAPTIONACC_HOME": str(folder),
        "CAPTIONACC_PORT": str(free_port()),
        "CAPTIONACC_WORKERS": "1",
        # Without a trained model a run starts in half the time.
        "EXTENTS_PREDICTOR": "strokes",
        "PYTHONPATH": str(REPOSITORY),
        "COLUMNS": "200",
    }
    # Without fsync, because a slow disk is not tested here. The settings apply until it is stopped.
    server = EmbeddedPostgres(folder, settings={"fsync": "off"})
    server.ensure_running()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        yield Home(folder, environment, make_clip(tmp_path_factory.mktemp("clip")))
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(shared_home: Home) -> Iterator[Home]:
    """A home in which nothing is running; leftovers of a failed test are ended."""
    shared_home.commands.clear()
    yield shared_home
    for process in shared_home.left():
        process.kill()
    for command in shared_home.commands:
        command.process.wait()


ORDERS = sorted(set(itertools.permutations(["up", "ingest", "ingest"])))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=lambda end: end.name)
@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_any_process_that_runs_the_daemon_may_end(
    home: Home, tell: Tell, order: tuple[str, ...], end: signal.Signals
):
    first = home.begin(order[0])
    home.until("the first one's daemon", lambda: (h := home.holder()) and h.pid == first.process.pid)
    others = [home.begin(name) for name in order[1:]]
    for other in others:
        home.until("reliance on the first", lambda other=other: "relies on it" in other.printed())
    assert home.holder().pid == first.process.pid

    first.process.send_signal(end)
    ended_at = time.time()
    pids = {other.process.pid for other in others}
    home.until("a successor", lambda: (h := home.holder()) and h.pid in pids)
    seconds = time.time() - ended_at
    code = first.process.wait(30)

    ingests = [other for other in others if other.name == "ingest"]
    for ingest in ingests:
        home.until("the end of an ingest", lambda ingest=ingest: not ingest.is_running())
        assert ingest.process.returncode == 0 and "2 captions" in ingest.printed(), home.report()
    if end is signal.SIGINT:
        assert code == (0 if first.name == "up" else 130), home.report()
        assert ("registered, no work is lost" in first.printed()) is (first.name == "ingest")
    if up := next((other for other in others if other.name == "up"), None):
        home.until("up", lambda: "CaptionA.cc is up" in up.printed())
        home.until("the web server", lambda: _answers(home))
        assert home.holder().pid == up.process.pid
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(40) == 0, home.report()
    left_for = home.wait_empty()
    assert left_for < 15 and home.holder() is None
    fault = f"{end.name} of `{order[0]}`, on which `{order[1]}` and `{order[2]}` relied"
    tell(Healed(fault, "whatever is at work", "any", "one of the others took its place", seconds))


def _answers(home: Home) -> bool:
    try:
        address = f"http://127.0.0.1:{home.environment['CAPTIONACC_PORT']}/server_info"
        return httpx.get(address, timeout=2).is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    "end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda e: e.name
)
def test_up_ends_its_processes_with_it(home: Home, tell: Tell, end: signal.Signals):
    """Daemon, web server, code servers and a running run: none of them remains."""
    up = home.start("up")
    home.until("up", lambda: "CaptionA.cc is up" in up.printed())
    ingest = home.ingest()
    home.until("a run", lambda: any("forkserver" in command for command in home.left().values()))
    ingest.process.kill()
    ingest.process.wait()
    began = time.time()
    up.process.send_signal(end)
    up.process.wait(40)
    home.wait_empty()
    seconds = time.time() - began
    assert seconds < 15, home.report()
    tell(Healed(f"{end.name} of `up`", "whatever is at work", "any", "its processes ended with it", seconds))
    # The next command continues the interrupted work, with its own video.
    again = home.ingest()
    home.until("the next ingest", lambda: not again.is_running())
    assert again.process.returncode == 0, home.report()


def test_two_ingests_that_start_at_once_share_one_daemon(home: Home):
    both = [home.ingest(), home.ingest()]
    for ingest in both:
        home.until("the end of an ingest", lambda ingest=ingest: not ingest.is_running())
        assert ingest.process.returncode == 0 and "2 captions" in ingest.printed(), home.report()
    assert sum("relies on it" in ingest.printed() for ingest in both) == 1
    home.wait_empty()


def test_stop_ends_everything_in_the_home(home: Home):
    up = home.start("up")
    home.until("up", lambda: "CaptionA.cc is up" in up.printed())
    ingest = home.ingest()
    home.until("reliance", lambda: "relies on it" in ingest.printed())
    stop = home.start("stop")
    assert stop.process.wait(90) == 0, home.report()
    assert "Stopped `-c up`" in stop.printed() and "Stopped `-c ingest" in stop.printed(), stop.printed()
    assert up.process.wait(5) == 0
    code, printed = ingest.process.wait(5), ingest.printed()
    # It may have printed its captions by the time it is stopped, and then has nothing left to say.
    assert code in (0, 130), printed
    assert "2 captions" in printed or (code == 130 and "registered, no work is lost" in printed), printed
    assert home.left() == {}
    EmbeddedPostgres(home.folder, settings={"fsync": "off"}).ensure_running()


def test_a_second_up_in_a_home_is_refused_and_names_the_first(home: Home):
    up = home.start("up")
    home.until("up", lambda: "CaptionA.cc is up" in up.printed())
    home.environment["CAPTIONACC_PORT"], former = str(free_port()), home.environment["CAPTIONACC_PORT"]
    second = home.start("up")
    home.environment["CAPTIONACC_PORT"] = former
    assert second.process.wait(30) == 1
    assert (
        f"is already up at http://127.0.0.1:{former}, started by `-c up` (process {up.process.pid}, since"
        in second.printed()
    )
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(40) == 0
    home.wait_empty()
