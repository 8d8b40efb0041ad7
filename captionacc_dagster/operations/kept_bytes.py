"""Bytes that are kept in memory by key: the last used ones, up to a size."""

import threading
from collections import OrderedDict
from collections.abc import Callable


class KeptBytes:
    """The last used bytes of at most ``limit`` bytes together. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size, self._guard = limit, 0, threading.Lock()
        self._items: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def get(self, key: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
        """Return what is kept, or made now. Two threads may make the same."""
        with self._guard:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        data = make()
        with self._guard:
            self._size += len(data) - len(self._items.pop(key, b""))
            self._items[key] = data
            while self._size > self._limit and self._items:
                self._size -= len(self._items.popitem(last=False)[1])
        return data
