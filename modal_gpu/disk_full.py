"""Detection of a full disk in the errors of several libraries."""

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from modal_gpu.errors import DiskFullError

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
#: PostgreSQL's ``disk_full``.
_SQLSTATE = "53100"
ADVICE = "make room, then try again"


def disk_full(error: BaseException, folder: Path | str | None = None) -> DiskFullError | None:
    """Return the error to raise instead if a full disk is ``error`` or one of its causes, else ``None``.

    ``folder`` is used in the message if the error does not contain a path.
    """
    for cause in _causes(error):
        if isinstance(cause, DiskFullError):
            return cause
        if isinstance(cause, OSError) and cause.errno in _NUMBERS:
            place = cause.filename or folder
            return DiskFullError(f"the disk is full: {f'{place}: ' if place else ''}{ADVICE}")
        if getattr(cause, "sqlstate", None) == _SQLSTATE:
            return DiskFullError(f"the disk of the database is full: {ADVICE}")
        if isinstance(cause, sqlite3.OperationalError) and "disk is full" in str(cause):
            return DiskFullError(f"the disk is full: {f'{folder}: ' if folder else ''}{ADVICE}")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes; SQLAlchemy stores the driver's error in ``orig``."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        cause = left.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            left += [getattr(cause, "orig", None), cause.__cause__, cause.__context__]
