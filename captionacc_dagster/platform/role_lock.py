"""Roles in a home: a file lock for each, which ends with the processes that hold it.

The kernel frees a lock when the last process that holds it is gone, however it ended. So a role is taken
exactly as long as somebody fills it, and no heartbeat is needed to show that.
"""

import contextlib
import fcntl
import json
import os
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import psutil

from modal_gpu.errors import CaptionAccError

#: A reader of the lock holds it for an instant; a process that takes it retries for this long.
_TRIES, _TRY_SECONDS = 10, 0.02
#: Characters of a command line that a message shows.
_SHOWN = 80


@dataclass(frozen=True)
class Holder:
    """The command that took a role, and the address that it serves, if any. Times are seconds since 1970."""

    pid: int = 0
    created: float = 0
    command: str = "another command"
    since: float = 0
    address: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return self.command
        since = datetime.fromtimestamp(self.since)
        day = "%H:%M:%S" if since.date() == datetime.now().date() else "%Y-%m-%d %H:%M:%S"
        return f"`{self.command}` (process {self.pid}, since {since:{day}})"

    def process(self) -> psutil.Process | None:
        """Return the process that took the role; None if it has ended, even if another has its id now."""
        try:
            process = psutil.Process(self.pid)
            # As psutil compares them: the system's clock may be set while processes run.
            is_same = abs(process.create_time() - self.created) < 1
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except (psutil.Error, ValueError):
            return None


class ServiceError(CaptionAccError):
    """A process of the platform ended, or cannot start beside one that already runs."""


class RoleLock:
    """One role of a home. Any number of processes may ask who holds it; one at a time takes it.

    The lock belongs to the open file: a child that inherits :meth:`fileno` holds it as well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self, address: str = "") -> bool:
        """Take the role until :meth:`release` or the end of this process; return False if somebody has it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(descriptor, fcntl.LOCK_EX):
            os.close(descriptor)
            return False
        me = psutil.Process()
        holder = Holder(me.pid, me.create_time(), _command(), time.time(), address)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
        self._descriptor = descriptor
        return True

    def share(self) -> bool:
        """Share the role with others; return False if somebody holds it exclusively."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(descriptor, fcntl.LOCK_SH):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the role; children that inherited it keep it until they end."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def fileno(self) -> int:
        """Return the descriptor to pass to a child. Raises ``ValueError`` unless the role is held here."""
        if self._descriptor is None:
            raise ValueError(f"{self.path} is not held by this process")
        return self._descriptor

    def is_held(self, *, shared_too: bool = False) -> bool:
        """Return whether anybody holds the role, this process included; ``shared_too``: or shares it."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if shared_too else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def holder(self) -> Holder | None:
        """Return who holds the role, or None."""
        if not self.is_held():
            return None
        for _ in range(_TRIES):
            with contextlib.suppress(OSError, ValueError, TypeError):
                return Holder(**json.loads(self.path.read_bytes()))
            time.sleep(_TRY_SECONDS)  # it is being written
        return Holder()


def _lock(descriptor: int, kind: int) -> bool:
    for attempt in range(_TRIES):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if attempt < _TRIES - 1:
                time.sleep(_TRY_SECONDS)
    return False


def _command() -> str:
    """Return this process's command line, shortened."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return command if len(command) <= _SHOWN else command[: _SHOWN - 1] + "…"
