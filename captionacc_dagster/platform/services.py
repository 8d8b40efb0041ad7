"""The processes of the embedded platform: Dagster's daemon and its web server.

They end with the command that started them, however it ends (``service_process.py``), together with their
code servers and runs, unless another command continues those.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import psutil

from captionacc_dagster.constants import DEFINITIONS_MODULE
from captionacc_dagster.dagster_internals.commands import DAEMON_MODULE, is_code_server
from captionacc_dagster.dagster_internals.forked_runs import STARTS_RUNS
from captionacc_dagster.partition_keys import video_id_of
from captionacc_dagster.platform.dagster_home import prepare_dagster_home
from captionacc_dagster.platform.homes import make_private
from captionacc_dagster.platform.orphans import DAEMON_LOCK
from captionacc_dagster.platform.role_lock import Holder, RoleLock, ServiceError
from captionacc_dagster.settings import Settings

#: Environment of Dagster's processes, unless set otherwise.
SERVICE_ENVIRONMENT = {
    # Idle threads of PyTorch and OpenCV wait instead of spinning: several runs share the cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Threads of the code server. A launch and a sensor's tick occupy one each for seconds; the default, four
    # more than cores, would make them wait for each other.
    "DAGSTER_GRPC_MAX_WORKERS": "32",
}
DAEMON, WEB_SERVER = "dagster-daemon", "dagster-webserver"
#: Time that a process has to end by itself, in seconds; less if it has no work.
_END_SECONDS, _IDLE_END_SECONDS = 10.0, 0.5
#: The same for a code server, which reports its runs' ends meanwhile.
_SERVER_END_SECONDS = 5.0
#: Interval at which Dagster is asked whether runs have ended.
_LOOK_SECONDS = 0.1


def daemon_lock(settings: Settings) -> RoleLock:
    """Return the lock of the daemon's role: its holder runs the daemon of this Dagster home."""
    return RoleLock(settings.dagster_home / "services" / "daemon.lock")


def web_lock(settings: Settings) -> RoleLock:
    """Return the lock of the web server's role in this Dagster home."""
    return RoleLock(settings.dagster_home / "services" / "web.lock")


def relying_lock(settings: Settings) -> RoleLock:
    """Return the lock that commands share while they rely on another's daemon."""
    return RoleLock(settings.dagster_home / "services" / "relying.lock")


class Services:
    """The processes that this command started, and the folder of their logs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log_folder = settings.home / "logs"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        #: The lock that the daemon holds once it was started.
        self.daemon_lock: RoleLock | None = None
        # Nobody writes to it: when it closes, the processes know that this one is gone.
        self._pipe = list(os.pipe())

    def start_daemon(self, lock: RoleLock) -> None:
        """Start the daemon, which keeps ``lock`` until it ends."""
        self.daemon_lock = lock
        self._start(DAEMON, [DAEMON_MODULE, "run", "-m", DEFINITIONS_MODULE], lock.fileno())

    def start_webserver(self) -> None:
        """Start Dagster's web server on the host and port of the settings."""
        address = ["-h", self.settings.host, "-p", str(self.settings.port)]
        self._start(WEB_SERVER, ["dagster_webserver", "-m", DEFINITIONS_MODULE, *address])

    def _start(self, name: str, module: list[str], lock: int = -1) -> None:
        make_private(self.log_folder)
        environment = {
            **SERVICE_ENVIRONMENT,
            **os.environ,
            "DAGSTER_HOME": str(self.settings.dagster_home),
            "CAPTIONACC_HOME": str(self.settings.home),
            DAEMON_LOCK: str(daemon_lock(self.settings).path),
            STARTS_RUNS: "1" if name == DAEMON else "",
        }
        lifeline = self._pipe[0]
        command = [
            sys.executable,
            "-m",
            "captionacc_dagster.platform.service_process",
            str(lifeline),
            str(lock),
        ]
        with (self.log_folder / f"{name}.log").open("ab") as log:
            # In a session of its own: Ctrl-C reaches only this process, which then stops the others in order.
            self.processes[name] = subprocess.Popen(
                [*command, *module],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[descriptor for descriptor in (lifeline, lock) if descriptor >= 0],
            )

    def ended(self) -> str | None:
        """Return the name of a process that has ended, if any."""
        return next((name for name, process in self.processes.items() if process.poll() is not None), None)

    def error(self, name: str) -> ServiceError:
        """Return the error for a process that ended by itself, with its last line and its log."""
        log = self.log_folder / f"{name}.log"
        lines = log.read_text(errors="replace").split("\n") if log.exists() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ServiceError(f"{name} ended{f' ({last[-200:]})' if last else ''}; see {log}")

    def stop(self, *, leave_runs: bool = False, idle: bool = False) -> None:
        """End the processes, their code servers and their runs, within seconds.

        Runs are killed, not cancelled: a later daemon retries them, and they resume their remote calls. With
        ``leave_runs`` the daemon's code server ends by itself after its runs. ``idle``: no run is at work, so
        there is little to wait for. A daemon waits for the ticks of its sensors; one that is interrupted is
        resumed by the next daemon.
        """
        patience = _IDLE_END_SECONDS if idle else _END_SECONDS
        with _uninterrupted():
            servers = {name: _code_servers(process.pid) for name, process in self.processes.items()}
            for process in self.processes.values():
                process.terminate()
            for process in self.processes.values():
                _wait_or_kill(process, patience)
            sessions = {name: process.pid for name, process in self.processes.items()}
            if leave_runs:
                servers.pop(DAEMON, None)
                sessions.pop(DAEMON, None)
            found = [server for each in servers.values() for server in each]
            _end_code_servers(found, _IDLE_END_SECONDS if idle else _SERVER_END_SECONDS)
            # A code server that was starting has begun processes since: its fork server, which would end only
            # once it has loaded the code. Its parent is gone, but it is still of its daemon's session.
            _kill_all(lambda process: os.getsid(process.pid) in sessions.values())
            self.processes.clear()
            while self._pipe:
                os.close(self._pipe.pop())


@contextmanager
def running_services(settings: Settings, webserver: bool) -> Iterator[Services]:
    """Run Dagster's daemon, and its web server if ``webserver``, within the block.

    Raises :class:`ServiceError` if another command runs the daemon of this home.
    """
    prepare_dagster_home(settings)
    lock = daemon_lock(settings)
    if not lock.take():
        raise ServiceError(f"{lock.holder() or 'another command'} runs the daemon of {settings.dagster_home}")
    services = Services(settings)
    try:
        services.start_daemon(lock)
        if webserver:
            services.start_webserver()
        yield services
    finally:
        services.stop()
        lock.release()


def wait_for_runs(video_ids: Collection[str], check: Callable[[], None], timeout: float = 60) -> bool:
    """Wait until Dagster has no unfinished run of these videos, at most ``timeout`` seconds.

    Return whether it has none of other videos either. ``check`` is called in between, and raises to end the
    wait.
    """
    import dagster as dg

    from captionacc_dagster.dagster_internals.run_statuses import NOT_FINISHED_STATUSES

    deadline = time.monotonic() + timeout
    with dg.DagsterInstance.get() as instance:
        while time.monotonic() < deadline:
            runs = instance.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
            if not any(video_id_of(run.tags.get("dagster/partition", "")) in video_ids for run in runs):
                return not runs
            check()
            time.sleep(_LOOK_SECONDS)
    return False


def end_holders(settings: Settings, timeout: float = 60) -> Iterator[Holder]:
    """End the commands that run this home's services, as Ctrl-C does, and yield each that ended.

    A command that relied on another takes its place, and is ended in turn. Raises :class:`ServiceError` if
    one does not end.
    """
    deadline = time.monotonic() + timeout
    locks = [web_lock(settings), daemon_lock(settings)]
    while True:
        holder = next((found for lock in locks if (found := lock.holder())), None)
        if holder is None:
            if not relying_lock(settings).is_held(shared_too=True) or time.monotonic() > deadline:
                return
            time.sleep(0.2)
            continue
        process = holder.process()
        if process is not None:
            process.terminate()
        while any(_is_of(lock.holder(), holder) for lock in locks):
            if time.monotonic() > deadline:
                raise ServiceError(f"{holder} does not end within {timeout:.0f} s")
            time.sleep(0.1)
        yield holder


def end_leftovers(settings: Settings) -> None:
    """Kill the code servers and runs that ended commands left in this home for others to continue.

    Does nothing if another command has started the home's services in the meantime.
    """
    daemon, web = daemon_lock(settings), web_lock(settings)
    path = str(daemon.path)
    if not daemon.path.exists():
        return
    try:
        if daemon.take() and web.take():
            _kill_all(lambda process: process.environ().get(DAEMON_LOCK) == path)
    finally:
        web.release()
        daemon.release()


def _is_of(found: Holder | None, holder: Holder) -> bool:
    return found is not None and (found.pid, found.created) == (holder.pid, holder.created)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore signals within the block, so that a second Ctrl-C does not interrupt an orderly end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # Read first: a signal that arrives while handlers are being set must not leave signals ignored.
    former = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _wait_or_kill(process: subprocess.Popen[bytes], patience: float) -> None:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _code_servers(pid: int) -> list[psutil.Process]:
    """Return Dagster's code servers among the descendants of a process."""
    found = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if is_code_server(process.cmdline()):
                    found.append(process)
    return found


def _end_code_servers(servers: list[psutil.Process], patience: float) -> None:
    """Kill the runs of the code servers, let the servers report that, and end them."""
    workers = []
    for server in servers:
        with contextlib.suppress(psutil.Error):
            workers += server.children(recursive=True)
    _signal(workers, signal.SIGKILL)
    _signal(servers, signal.SIGTERM)
    left = _wait_until_ended(servers, patience)
    _signal(left, signal.SIGKILL)
    _wait_until_ended([*left, *workers], _SERVER_END_SECONDS)


def _kill_all(is_one: Callable[[psutil.Process], bool]) -> None:
    """Kill the processes of this machine for which ``is_one`` is true, until none of them is left."""

    def found() -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if _suppressed(is_one, process)]

    deadline = time.monotonic() + _SERVER_END_SECONDS
    while left := [process for process in found() if _is_at_work(process)]:
        if time.monotonic() > deadline:
            break
        _signal(left, signal.SIGKILL)
        time.sleep(0.02)


def _suppressed(is_one: Callable[[psutil.Process], bool], process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return is_one(process)
    return False


def _wait_until_ended(processes: list[psutil.Process], patience: float) -> list[psutil.Process]:
    """Return the processes that are still at work after at most ``patience`` seconds.

    They are not children of this process, so psutil would also wait until whoever inherits them reaps them.
    """
    deadline = time.monotonic() + patience
    while left := [process for process in processes if _is_at_work(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return left


def _is_at_work(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
