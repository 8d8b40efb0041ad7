"""The home, the folder with everything embedded: its permissions, its existence, and the user's other homes.

Commands that only read create none. A command that creates one records it in the user's state folder, so that
a command in another folder can name the homes that exist.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from modal_gpu.errors import CaptionAccError

#: The contents of a home; a folder with anything else in it is shared with other uses.
PARTS = frozenset({"bucket", "dagster", "demo", "logs", "models", "postgres"})
DEFAULT_NAME = ".captionacc"
#: Homes that are recorded, and that a message shows.
_REMEMBERED, _SHOWN = 20, 3
_OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO


class NoHomeError(CaptionAccError):
    """There is no home where the settings look for it, and the command creates none."""


def is_home(folder: Path) -> bool:
    """Return whether a folder holds a platform's state. Raises ``PermissionError`` if it may not be read."""
    return any(
        (folder / part).exists() for part in ("postgres/data/PG_VERSION", "dagster/dagster.yaml", "bucket")
    )


def make_home(home: Path) -> None:
    """Create a home that only its owner may enter, and record where it is. Safe to repeat.

    An existing home with nothing but the platform's own files is closed to others, too.
    """
    if home.is_dir():
        _close(home)
    else:
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
    _remember(home)


def make_private(folder: Path) -> Path:
    """Create a folder that only its owner may enter, if it is missing, and return it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def require_home(home: Path, part: str = "") -> None:
    """Raise :class:`NoHomeError` if there is no home, or none with this part, such as ``postgres``."""
    if is_home(home) and (not part or (home / part).exists()):
        return
    lacking = f"no {part} in the home {home}" if part and is_home(home) else f"no home at {home}"
    raise NoHomeError(
        f"there is {lacking}, and this command makes none. {_elsewhere(home)}`captionacc ingest FILE` "
        "makes one here."
    )


def known_homes(looked_for: Path) -> list[Path]:
    """Return homes in this folder and its parents, then those recorded for this user, newest first."""
    here = Path.cwd()
    above = [folder / DEFAULT_NAME for folder in (here, *here.parents)]
    found = dict.fromkeys(home for home in (*above, *_remembered()) if home != looked_for)
    return [home for home in found if _is_home_for_us(home)]


def _elsewhere(home: Path) -> str:
    known = known_homes(home)
    if not known:
        return ""
    shown = ", ".join(str(other) for other in known[:_SHOWN])
    return f"Known: {shown}; work from there, or set CAPTIONACC_HOME to it. "


def _is_home_for_us(home: Path) -> bool:
    try:
        return is_home(home)
    except OSError:
        return False


def _close(home: Path) -> None:
    mode = stat.S_IMODE(home.stat().st_mode)
    # The group bits may hold the mask of an access list, which lets PostgreSQL's user pass but not read.
    passing = mode & stat.S_IXGRP if _has_access_list(home) else 0
    if mode & _OTHERS_MAY == passing or not _is_only_ours(home):
        return
    with suppress(PermissionError):  # another user's, such as a deployment's volume
        home.chmod(mode & ~_OTHERS_MAY | passing)


def _has_access_list(folder: Path) -> bool:
    with suppress(OSError, AttributeError):
        return bool(os.getxattr(folder, "system.posix_acl_access"))
    return False


def _is_only_ours(home: Path) -> bool:
    with suppress(PermissionError):
        return {entry.name for entry in home.iterdir()} <= PARTS
    return False


def _register() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(state) / "captionacc" / "homes"


def _remembered() -> Iterator[Path]:
    with suppress(OSError, RuntimeError):
        for line in _register().read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            if line.startswith("/"):
                yield Path(line)


def _remember(home: Path) -> None:
    """Put a home first in the register. Do nothing if it cannot be written, as in a container."""
    with suppress(OSError, RuntimeError):
        former = list(_remembered())
        if former[:1] == [home]:
            return
        kept = [home, *(one for one in former if one != home and one.is_dir())][:_REMEMBERED]
        register = _register()
        register.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = register.with_name(f"homes.{os.getpid()}")
        text = "".join(f"{one}\n" for one in kept if "\n" not in str(one))
        fresh.write_text(text, encoding="utf-8", errors="surrogateescape")
        fresh.replace(register)
