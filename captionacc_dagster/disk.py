"""Room on the disks that the platform writes to."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from captionacc_dagster.settings import Settings

#: Less than this is little: a long video's frames, its databases and PostgreSQL's log want more.
LITTLE_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Place:
    """A folder that is written to, and the bytes that its disk has free for this user."""

    folder: Path
    free: int

    @property
    def is_little(self) -> bool:
        return self.free < LITTLE_BYTES


def disk_places(settings: Settings) -> list[Place]:
    """The home, the bucket where that is a folder, and the folder of temporary files; one a disk.

    Folders that are not there yet stand for the one above them; nothing is made.
    """
    folders = [settings.home]
    url = urlsplit(settings.effective_storage_url)
    if url.scheme == "file":
        folders.append(Path(unquote(url.path)))
    folders.append(Path(tempfile.gettempdir()))
    by_disk: dict[int, Path] = {}
    for folder in folders:
        by_disk.setdefault(_there(folder).stat().st_dev, folder)
    return [Place(folder, shutil.disk_usage(_there(folder)).free) for folder in by_disk.values()]


def little_space(places: Sequence[Place], needed: int = 0) -> str | None:
    """What to say when a place has little room, or less than ``needed`` bytes beyond that; None when not."""
    little = [place for place in places if place.free - needed < LITTLE_BYTES]
    if not little:
        return None
    shown = ", ".join(f"{place.free / 1e9:.1f} GB in {place.folder}" for place in little)
    return f"little space is left on the disk ({shown}): make room, or move it (CAPTIONACC_HOME, TMPDIR)"


def _there(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())
