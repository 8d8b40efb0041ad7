"""Processes of the platform end with the command that started them, and orphans end if nothing takes over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from captionacc_dagster.platform import orphans
from captionacc_dagster.platform.role_lock import RoleLock

#: A service that says its name and waits; on SIGTERM it ends with 7.
_SERVICE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(*sys.argv[1:], flush=True)
time.sleep(60)
"""
_ORPHAN = """
import sys, time
from captionacc_dagster.platform import orphans
orphans._LOOK_SECONDS = 0.02
print("watched" if orphans.end_without_daemon(0.3) else "left alone", flush=True)
time.sleep(60)
"""


@contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def lock(tmp_path: Path) -> RoleLock:
    return RoleLock(tmp_path / "daemon.lock")


def test_a_service_ends_with_the_other_end_of_its_lifeline_and_keeps_the_lock_until_then(
    lock: RoleLock, tmp_path: Path
):
    (tmp_path / "a_service.py").write_text(_SERVICE)
    assert lock.take()
    lifeline, held_end = os.pipe()
    command = [
        sys.executable,
        "-m",
        "captionacc_dagster.platform.service_process",
        str(lifeline),
        str(lock.fileno()),
    ]
    with ended(
        subprocess.Popen(
            [*command, "a_service", "run", "-m", "definitions"],
            pass_fds=[lifeline, lock.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            stdout=subprocess.PIPE,
            text=True,
        )
    ) as service:
        assert service.stdout.readline() == "run -m definitions\n"
        os.close(lifeline)
        lock.release()
        assert lock.is_held(), "its child has it still"
        assert service.poll() is None
        os.close(held_end)  # as the kernel does at the end of a command, SIGKILL or not
        assert service.wait(10) == 7
        assert not lock.is_held()


@pytest.mark.parametrize(
    ("is_named", "is_taken", "is_killed"),
    [(True, False, True), (True, True, False), (False, False, False)],
    ids=["nobody takes over", "somebody takes over", "not of this platform"],
)
def test_an_orphan_ends_when_its_home_has_no_daemon(lock, is_named: bool, is_taken: bool, is_killed: bool):
    assert lock.take()
    environment = {**os.environ, orphans.DAEMON_LOCK: str(lock.path) if is_named else ""}
    with ended(
        subprocess.Popen([sys.executable, "-c", _ORPHAN], env=environment, stdout=subprocess.PIPE, text=True)
    ) as orphan:
        assert orphan.stdout.readline() == ("watched\n" if is_named else "left alone\n")
        lock.release()
        if is_taken:
            assert lock.take()
        deadline = time.monotonic() + (20 if is_killed else 0.8)
        while orphan.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert orphan.poll() == (-signal.SIGKILL if is_killed else None)


def test_only_code_servers_are_watched_when_the_definitions_load(lock: RoleLock, monkeypatch):
    monkeypatch.setenv(orphans.DAEMON_LOCK, str(lock.path))
    watched = []
    monkeypatch.setattr(orphans, "end_without_daemon", watched.append)
    for arguments in (["pytest"], ["dagster", "api", "execute_run"], ["dagster", "api", "grpc", "--lazy"]):
        monkeypatch.setattr(sys, "argv", arguments)
        orphans.end_code_server_without_daemon()
    assert watched == [orphans.CODE_SERVER_SECONDS]
