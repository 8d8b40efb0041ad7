"""Shared parts of the functions: the video as a local file, and the time of each stage."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modal_gpu.errors import BadVideoError, ObjectNotFoundError
from modal_gpu.storage import ObjectStore


@contextmanager
def local_video(store: ObjectStore, key: str) -> Iterator[Path]:
    """Download the video to a temporary file; a video in a local folder is not copied.

    Raises :class:`BadVideoError` if the object is missing, since the video must be uploaded again.
    """
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        path = Path(folder) / "video"
        try:
            if (here := store.local_path(key)) is not None:
                # A link with the copy's name: FFmpeg also considers a name's extension.
                path.symlink_to(here)
            else:
                store.download(key, path)
        except ObjectNotFoundError:
            raise BadVideoError(f"there is no video at {key}: upload it again") from None
        yield path


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
