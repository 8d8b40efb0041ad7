"""Hand items from the thread that makes them to another that uses them, a bounded number at a time."""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from modal_gpu.byte_queue import items_within

T = TypeVar("T")
R = TypeVar("R")

_END = object()
#: How often a full queue looks whether its consumer still lives.
_LOOK_SECONDS = 0.2


class Feed(Generic[T, R]):
    """Runs ``consume(items)`` in a thread of its own; :meth:`put` gives it items, blocking when it is behind.

    As a context manager it waits for the consumer at the end; an error of the consumer is raised by
    the next :meth:`put` or by :meth:`result`. Leaving by an exception ends the consumer early.
    """

    def __init__(
        self,
        consume: Callable[[Iterator[T]], R],
        limit: int = 64,
        size: Callable[[T], int] = lambda _: 0,
    ) -> None:
        """At most ``limit`` items wait, fewer of those whose ``size`` in bytes is large."""
        self._queue: queue.Queue = queue.Queue(limit)
        self._limit, self._size = limit, size
        self._aborted = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._future: Future[R] = self._thread.submit(lambda: consume(self._items()))

    def put(self, item: T) -> None:
        """Hand over one item."""
        self._queue.maxsize = items_within(self._size(item), self._limit)
        self._put(item)

    def result(self) -> R:
        """What ``consume`` returned, once every item was given."""
        self._put(_END)
        return self._future.result()

    def _put(self, item: object) -> None:
        while True:
            if self._future.done():
                self._future.result()
                return
            try:
                self._queue.put(item, timeout=_LOOK_SECONDS)
                return
            except queue.Full:
                continue

    def _items(self) -> Iterator[T]:
        while True:
            try:
                item = self._queue.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if self._aborted:
                    return
                continue
            if item is _END or self._aborted:
                return
            yield item

    def __enter__(self) -> "Feed[T, R]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aborted = kind is not None
        self._thread.shutdown(wait=True)
