"""What the functions share: a temporary copy of the video, and how long each stage took."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modal_gpu.errors import BadVideoError, ObjectNotFoundError
from modal_gpu.storage import ObjectStore


@contextmanager
def local_video(store: ObjectStore, key: str) -> Iterator[Path]:
    """The video as a file on this machine, gone afterwards.

    Raises :class:`BadVideoError` when there is no object: the upload has to be done again.
    """
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        path = Path(folder) / "video"
        try:
            store.download(key, path)
        except ObjectNotFoundError:
            raise BadVideoError(f"there is no video at {key}: upload it again") from None
        yield path


class Stopwatch:
    """Wall seconds a stage; stages that run side by side are counted each in full."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the block's duration to a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    @property
    def total(self) -> float:
        """Seconds since this stopwatch was made."""
        return time.monotonic() - self._start
