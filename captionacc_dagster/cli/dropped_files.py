"""The videos in a folder that people drop files into, and which of them are complete."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from captionacc_dagster.cli.inputs import InputFileError, check_video, videos_in

#: Size and time of the last change.
Moment = tuple[int, int]


@dataclass
class _Seen:
    moment: Moment
    #: When this moment was first seen.
    since: float
    is_taken: bool = False


@dataclass
class DroppedFiles:
    """Follows a folder and all below it.

    A file is complete when it has not changed for ``settle_seconds`` and, as far as the system shows it, no
    process has it open for writing.
    """

    folder: Path
    settle_seconds: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, _Seen] = field(default_factory=dict)

    def complete(self) -> list[Path]:
        """Look once; return the files that are complete now, each once until it changes again."""
        now, there = self.clock(), {}
        for path in videos_in(self.folder):
            with suppress(OSError, InputFileError):  # gone meanwhile, or without content yet
                facts = check_video(path)
                moment = facts.st_size, facts.st_mtime_ns
                before = self._seen.get(path)
                there[path] = before if before and before.moment == moment else _Seen(moment, now)
        self._seen = there
        found = []
        for path, seen in there.items():
            settled = not seen.is_taken and now - seen.since >= self.settle_seconds
            if settled and not is_being_written(path):
                seen.is_taken = True
                found.append(path)
        return found

    def put_back(self, path: Path) -> None:
        """Return the file again at the next look: it could not be taken."""
        if seen := self._seen.get(path):
            seen.is_taken = False

    @property
    def is_settled(self) -> bool:
        """True if every file was returned as complete; others need another look soon."""
        return all(seen.is_taken for seen in self._seen.values())


def is_being_written(path: Path) -> bool:
    """Return whether a process has the file open for writing, as far as the system shows it.

    Linux grants a read lease on a file only while nobody writes to it (fcntl(2), F_SETLEASE). False where
    there are no leases: on other systems, network file systems, and other people's files.
    """
    try:
        import fcntl

        set_signal, set_lease = fcntl.F_SETSIG, fcntl.F_SETLEASE
    except (ImportError, AttributeError):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        # A program that opens the file for writing while we have the lease causes a signal: SIGIO, which
        # ends a process, unless another one is set. SIGURG is ignored by default.
        fcntl.fcntl(descriptor, set_signal, signal.SIGURG)
        fcntl.fcntl(descriptor, set_lease, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, set_lease, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
