"""How many images Google bills. Light: imports nothing of Google."""

import threading


class ImageTally:
    """Counts over all engines of a process, whichever threads they are in.

    Unpickled in another process it begins at 0: that one counts for itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """Images so far."""
        return self._count

    def add(self, images: int = 1) -> None:
        """Count images that Vision has answered."""
        with self._lock:
            self._count += images

    def __reduce__(self) -> tuple[type["ImageTally"], tuple[()]]:
        return ImageTally, ()
