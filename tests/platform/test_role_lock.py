"""A role is held for as long as a process holds it, however that one ends, and its lock says who it is."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from captionacc_dagster.platform.role_lock import Holder, RoleLock

# A shell starts background commands with SIGINT ignored, and what they start inherits that.
_HOLD = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from captionacc_dagster.platform.role_lock import RoleLock
lock = RoleLock(Path(sys.argv[1]))
print("taken" if lock.take("http://127.0.0.1:3000") else "refused", flush=True)
sys.stdin.read()
"""
#: Holds the role, and has a child that inherits the lock and outlives it.
_HOLD_WITH_CHILD = _HOLD.replace(
    "sys.stdin",
    "import subprocess; subprocess.Popen(['cat'], pass_fds=[lock.fileno()]); sys.stdin",
)


Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that tries to take a role, and prints in its first line whether it has it."""
    started: list[subprocess.Popen] = []

    def begin(lock: RoleLock, program: str = _HOLD) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(lock.path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.stdin.close()
        process.wait()
        process.stdout.close()


@pytest.fixture
def lock(tmp_path: Path) -> RoleLock:
    return RoleLock(tmp_path / "services" / "daemon.lock")


def test_asking_for_the_holder_creates_nothing(lock: RoleLock):
    assert not lock.is_held() and lock.holder() is None
    assert not lock.path.parent.exists()


def test_the_holder_is_named_with_its_command_and_since_when(lock: RoleLock, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/bin/captionacc", "ingest", "a video.mp4"])
    assert lock.take()
    holder = RoleLock(lock.path).holder()
    assert holder == Holder(os.getpid(), psutil.Process().create_time(), holder.command, holder.since)
    assert str(holder).startswith(f"`captionacc ingest 'a video.mp4'` (process {os.getpid()}, since ")
    assert holder.process() == psutil.Process()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_a_role_ends_with_its_process(lock: RoleLock, start: Start, end: signal.Signals):
    process = start(lock)
    assert process.stdout.readline() == "taken\n"
    holder = lock.holder()
    assert (holder.pid, holder.address) == (process.pid, "http://127.0.0.1:3000")
    assert not lock.take()
    process.send_signal(end)
    process.wait()
    assert not lock.is_held() and holder.process() is None
    assert lock.take() and lock.holder().pid == os.getpid()


def test_a_child_that_inherits_the_lock_keeps_the_role(lock: RoleLock, start: Start):
    process = start(lock, _HOLD_WITH_CHILD)
    assert process.stdout.readline() == "taken\n"
    (child,) = _children(process)
    process.kill()
    process.wait()
    assert lock.is_held() and lock.holder().process() is None
    child.kill()
    psutil.wait_procs([child], 5)
    assert lock.take()


def _children(process: subprocess.Popen) -> list[psutil.Process]:
    while not (found := psutil.Process(process.pid).children()):
        pass
    return found


def test_one_of_many_that_start_at_once_has_the_role(lock: RoleLock, start: Start):
    processes = [start(lock) for _ in range(5)]
    answers = [process.stdout.readline() for process in processes]
    assert sorted(answers) == ["refused\n"] * 4 + ["taken\n"]


def test_asking_never_prevents_another_process_from_taking_the_role(lock: RoleLock):
    assert lock.take()
    lock.release()
    for _ in range(200):
        assert not lock.is_held()
        assert lock.take() and lock.is_held()
        lock.release()


def test_a_shared_role_is_held_by_all_who_share_it(lock: RoleLock):
    first, second = RoleLock(lock.path), RoleLock(lock.path)
    assert first.share() and second.share()
    assert lock.is_held(shared_too=True) and not lock.is_held()
    first.release()
    assert lock.is_held(shared_too=True)
    second.release()
    assert not lock.is_held(shared_too=True)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": 1, "unknown": 2}'])
def test_a_lock_without_contents_is_held_all_the_same(lock: RoleLock, content: bytes):
    assert lock.take()
    lock.path.write_bytes(content)
    assert str(RoleLock(lock.path).holder()) == "another command"


def test_a_later_process_of_the_same_number_is_another():
    assert Holder(os.getpid(), psutil.Process().create_time() - 100).process() is None
