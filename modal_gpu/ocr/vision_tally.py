"""Counter of the images that Google bills. Imports nothing of Google."""

import threading


class ImageTally:
    """A thread-safe counter shared by all engines of a process.

    Unpickled in another process it starts at 0.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """Number of images so far."""
        return self._count

    def add(self, images: int = 1) -> None:
        """Count images that Vision has answered."""
        with self._lock:
            self._count += images

    def __reduce__(self) -> tuple[type["ImageTally"], tuple[()]]:
        return ImageTally, ()
