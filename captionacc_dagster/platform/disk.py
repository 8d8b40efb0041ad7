"""Free space on the disks that the platform writes to."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from captionacc_dagster.settings import Settings
from modal_gpu.disk_full import ADVICE
from modal_gpu.errors import DiskFullError

#: Free bytes below which a warning is due: frames of a long video, databases and PostgreSQL's log need more.
LITTLE_BYTES = 2_000_000_000
#: Free bytes below which databases cannot even write their logs.
FULL_BYTES = 8_000_000


@dataclass(frozen=True)
class Place:
    """A folder that is written to, and the bytes that its disk has free for this user."""

    folder: Path
    free: int

    @property
    def is_little(self) -> bool:
        """True if less than :data:`LITTLE_BYTES` are free."""
        return self.free < LITTLE_BYTES


def disk_places(settings: Settings) -> list[Place]:
    """Return the home, the bucket if it is a folder, and the folder of temporary files: one per disk.

    A folder that does not exist yet counts as its nearest parent; nothing is created.
    """
    folders = [settings.home]
    url = urlsplit(settings.effective_storage_url)
    if url.scheme == "file":
        folders.append(Path(unquote(url.path)))
    folders.append(Path(tempfile.gettempdir()))
    by_disk: dict[int, Path] = {}
    for folder in folders:
        by_disk.setdefault(_there(folder).stat().st_dev, folder)
    return [Place(folder, _free(_there(folder))) for folder in by_disk.values()]


def little_space(places: Sequence[Place], needed: int = 0) -> str | None:
    """Return a warning if a place has little room after ``needed`` bytes were written; else None."""
    little = [place for place in places if place.free - needed < LITTLE_BYTES]
    if not little:
        return None
    shown = ", ".join(f"{place.free / 1e9:.1f} GB in {place.folder}" for place in little)
    return f"little space is left on the disk ({shown}): make room, or move it (CAPTIONACC_HOME, TMPDIR)"


def refuse_full_disk(places: Sequence[Place]) -> None:
    """Raise :class:`DiskFullError` for the first place that has no room for anything."""
    for place in places:
        if place.free < FULL_BYTES:
            raise DiskFullError(
                f"the disk is full: {place.free / 1e6:.0f} MB left for {place.folder}; {ADVICE}"
            )


def _free(folder: Path) -> int:
    """Return the bytes that this user may still write: the file system's reserve is root's."""
    found = os.statvfs(folder)
    return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize


def _there(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())
