"""Bounded queues between a thread that produces items and one that consumes them."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

from modal_gpu.byte_queue import items_within

T = TypeVar("T")
R = TypeVar("R")

_END = object()
#: Interval at which a waiting thread checks whether the other one has ended.
_CHECK_SECONDS = 0.2


class Feed(Generic[T, R]):
    """A thread that runs ``consume(items)``, where the items come from :meth:`put`.

    :meth:`put` blocks while the queue is full. An error of the consumer is raised by the next :meth:`put` or
    by :meth:`result`. Leaving the context waits for the consumer; an exception ends it early.
    """

    def __init__(
        self,
        consume: Callable[[Iterator[T]], R],
        limit: int = 64,
        size: Callable[[T], int] = lambda _: 0,
    ) -> None:
        """Start the thread. At most ``limit`` items wait, fewer if their ``size`` in bytes is large."""
        self._queue: queue.Queue[object] = queue.Queue(limit)
        self._limit, self._size = limit, size
        self._aborted = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._future: Future[R] = self._thread.submit(lambda: consume(self._items()))

    def put(self, item: T) -> None:
        """Queue one item."""
        self._queue.maxsize = items_within(self._size(item), self._limit)
        self._put(item)

    def result(self) -> R:
        """Return the result of ``consume``; call it after the last item."""
        self._put(_END)
        return self._future.result()

    def _put(self, item: object) -> None:
        while True:
            if self._future.done():
                self._future.result()
                return
            try:
                self._queue.put(item, timeout=_CHECK_SECONDS)
                return
            except queue.Full:
                continue

    def _items(self) -> Iterator[T]:
        while True:
            try:
                item: Any = self._queue.get(timeout=_CHECK_SECONDS)
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


@contextmanager
def read_ahead(
    items: Iterator[T], limit: int = 64, size: Callable[[T], int] = lambda _: 0
) -> Generator[Iterator[T], None, None]:
    """Provide ``items``, which a thread of its own draws ahead of the block.

    At most ``limit`` items wait, fewer if their ``size`` in bytes is large. An error of ``items`` is raised
    where the block draws the next one. Leaving the block ends the thread, after the item it is drawing.
    """
    waiting: queue.Queue[object] = queue.Queue(limit)
    left = threading.Event()

    def put(item: object) -> None:
        while not left.is_set():
            try:
                waiting.put(item, timeout=_CHECK_SECONDS)
                return
            except queue.Full:
                continue

    def draw() -> None:
        try:
            for item in items:
                waiting.maxsize = items_within(size(item), limit)
                put(item)
                if left.is_set():
                    return
        finally:
            put(_END)

    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        drawing = thread.submit(draw)

        def drawn() -> Iterator[T]:
            item: Any
            while (item := waiting.get()) is not _END:
                yield item
            drawing.result()

        try:
            yield drawn()
        finally:
            left.set()
