"""Stored objects as files that are read in parts: only what is read is transferred."""

import io
from typing import Any, BinaryIO, cast

from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.storage import ObjectStore

_BUFFER = 256 * 1024


class _ObjectFile(io.RawIOBase):
    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key, self._place = store, key, 0
        self._size = store.head(key).size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        end = min(self._size, self._place + len(buffer))
        if end <= self._place:
            return 0
        data = self._store.get_range(self._key, self._place, end)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def open_object(store: ObjectStore, key: str) -> BinaryIO:
    """Open an object for reading. Raises :class:`~modal_gpu.errors.ObjectNotFoundError` if it is missing."""
    return cast(BinaryIO, io.BufferedReader(_ObjectFile(store, key), _BUFFER))


def etag_of(store: ObjectStore, key: str) -> str | None:
    """Return an object's entity tag, another one after each write; ``None`` if there is no object."""
    try:
        return store.head(key).etag
    except ObjectNotFoundError:
        return None
