"""Shared parts of the functions: the video as a local file, and the time of each stage."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modal_gpu.errors import BadVideoError, ObjectNotFoundError
from modal_gpu.storage import ObjectInfo, ObjectStore


@contextmanager
def local_video(store: ObjectStore, key: str, *, keep: bool = False) -> Iterator[Path]:
    """Download the video to a temporary file; a video in a local folder is not copied.

    With ``keep``, for a process that serves one call at a time, the file stays for the next call, which often
    is another segment of the same video, until another video is needed. Raises :class:`BadVideoError` if the
    object is missing, since the video must be uploaded again.
    """
    try:
        here = store.local_path(key)
    except ObjectNotFoundError:
        raise _missing(key) from None
    if keep and here is None:
        yield _kept.path(store, key)
        return
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        path = Path(folder) / "video"
        if here is not None:
            # A link with the copy's name: FFmpeg also considers a name's extension.
            path.symlink_to(here)
        else:
            _download(store, key, path)
        yield path


def _download(store: ObjectStore, key: str, path: Path) -> None:
    try:
        store.download(key, path)
    except ObjectNotFoundError:
        raise _missing(key) from None


def _missing(key: str) -> BadVideoError:
    return BadVideoError(f"there is no video at {key}: upload it again")


class _KeptVideo:
    """The last downloaded video of this process. An object that has changed is downloaded again."""

    def __init__(self) -> None:
        self._identity: tuple[str, ObjectInfo] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def path(self, store: ObjectStore, key: str) -> Path:
        try:
            identity = (repr(store), store.head(key))
        except ObjectNotFoundError:
            raise _missing(key) from None
        if self._folder is None or identity != self._identity:
            self._clear()  # before the download: the disk may have room for one video only
            folder = tempfile.TemporaryDirectory(prefix="captionacc-")
            _download(store, key, Path(folder.name) / "video")
            self._folder, self._identity = folder, identity
        return Path(self._folder.name) / "video"

    def _clear(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
        self._folder = self._identity = None


_kept = _KeptVideo()


class Stopwatch:
    """Wall-clock seconds per stage; concurrent stages each count in full."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the ``with`` block to a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    @property
    def total(self) -> float:
        """Seconds since this stopwatch was created."""
        return time.monotonic() - self._start
