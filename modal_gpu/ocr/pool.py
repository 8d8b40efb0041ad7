"""A pool of OCR workers, each with a single-threaded engine; one per core by default.

Workers are threads, since onnxruntime releases the GIL. 30 frames of 720p on 2 cores took 7.2 s with one
engine, 4.0 s with two threads, and 6.0 s with two spawned processes, 2 s of them to start.
A :class:`BatchOcrEngine` gets its images in batches.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue
from types import TracebackType

import numpy as np

from modal_gpu.byte_queue import items_within
from modal_gpu.cores import available_cores
from modal_gpu.errors import ConfigurationError, OcrError, OcrUnavailableError
from modal_gpu.ocr.engine import BatchLimits, BatchOcrEngine, FrameOcr, OcrEngine

#: Batches held per worker: the one being read and the next.
_IN_FLIGHT_PER_WORKER = 2
#: Limit on the bytes of all held batches. A single batch may exceed it.
_IN_FLIGHT_BYTES = 256 * 2**20

#: ``(frame_index, image)``.
Item = tuple[int, np.ndarray]


class OcrPool:
    """Engines and their threads, as a context manager for any number of :meth:`map` calls.

    Leaving the context, by an interrupt too, drops queued images and waits only for those being read.
    """

    def __init__(
        self, engine_factory: Callable[[], OcrEngine | BatchOcrEngine], workers: int | None = None
    ) -> None:
        """Make an engine per worker; ``workers`` defaults to the number of available cores.

        Raises the errors of ``engine_factory``, such as :class:`OcrError` for a missing model file.
        """
        self.workers = workers or available_cores()
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="ocr")
        #: Errors of a service that did not answer, of all threads, in the current :meth:`map`.
        self._unanswered: deque[Exception] = deque()
        self._idle: SimpleQueue[OcrEngine | BatchOcrEngine] = SimpleQueue()
        self._to_close: list[BatchOcrEngine] = []
        self._limits = BatchLimits()
        try:
            for engine in self._threads.map(lambda _: engine_factory(), range(self.workers)):
                if isinstance(engine, BatchOcrEngine):
                    self._limits = engine.batch_limits
                    self._to_close.append(engine)
                self._idle.put(engine)
        except BaseException:
            self.close()
            raise

    def map(self, items: Iterable[Item]) -> Iterator[FrameOcr]:
        """Read ``(frame_index, image)`` pairs; yield the readings in the same order as they become ready.

        Images are uint8 RGB of H × W × 3. They are drawn from ``items`` only as workers become free, at most
        two per worker (or two batches). An image on which the engine fails yields a frame with status
        ``failed`` and the message. If all images fail, raises :class:`OcrError` at the end, or
        :class:`OcrUnavailableError` if a service answered for none of them. Raises
        :class:`ConfigurationError` immediately.
        """
        failed: list[FrameOcr] = []
        self._unanswered.clear()
        total = 0
        with closing(self._frames(items)) as frames:
            for frame in frames:
                total += 1
                if frame.status == "failed":
                    failed.append(frame)
                yield frame
        if total and len(failed) == total:
            # An outage may be over at the next attempt; the images are not its cause.
            kind = OcrUnavailableError if len(self._unanswered) == total else OcrError
            raise kind(
                f"OCR failed on all {total} images, first on {failed[0].frame_index}: {failed[0].error}"
            )

    def _frames(self, items: Iterable[Item]) -> Generator[FrameOcr, None, None]:
        """Submit batches as workers become free; yield their frames in order."""
        waiting: deque[Future[list[FrameOcr]]] = deque()
        try:
            source = batches(items, self._limits)
            exhausted = False
            most = _IN_FLIGHT_PER_WORKER * self.workers
            while waiting or not exhausted:
                while not exhausted and len(waiting) < most:
                    batch = next(source, None)
                    if batch is None:
                        exhausted = True
                    else:
                        size = sum(image.nbytes for _, image in batch)
                        most = items_within(size, _IN_FLIGHT_PER_WORKER * self.workers, _IN_FLIGHT_BYTES)
                        waiting.append(self._threads.submit(self._read, batch))
                        # No reference to the images while this generator is suspended.
                        del batch
                if waiting:
                    yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _read(self, batch: Sequence[Item]) -> list[FrameOcr]:
        engine = self._idle.get()
        try:
            if isinstance(engine, BatchOcrEngine):
                readings = engine.recognize_batch([image for _, image in batch])
                self._unanswered.extend(r for r in readings if isinstance(r, OcrUnavailableError))
                pairs = zip(batch, readings, strict=True)
                return [
                    _failed(index, reading) if isinstance(reading, Exception) else FrameOcr.of(index, reading)
                    for (index, _), reading in pairs
                ]
            return [FrameOcr.of(index, engine.recognize(image)) for index, image in batch]
        except ConfigurationError:
            raise
        except Exception as error:  # any failure becomes the result of the batch's images
            self._unanswered.extend([error] * len(batch) if isinstance(error, OcrUnavailableError) else [])
            return [_failed(index, error) for index, _ in batch]
        finally:
            self._idle.put(engine)

    def close(self) -> None:
        """Drop queued images and wait for those being read. May be called twice."""
        for engine in self._to_close:
            engine.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "OcrPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def batches(items: Iterable[Item], limits: BatchLimits) -> Iterator[list[Item]]:
    """Yield ``items`` in order, in batches within ``limits``; reads at most one item ahead."""
    batch: list[Item] = []
    pixels = 0
    for item in items:
        size = item[1].shape[0] * item[1].shape[1]
        if batch and limits.pixels is not None and pixels + size > limits.pixels:
            yield _emptied(batch)
            pixels = 0
        batch.append(item)
        pixels += size
        # No reference to the image while suspended, and a full batch does not wait for the next image.
        del item
        if len(batch) >= limits.images:
            yield _emptied(batch)
            pixels = 0
    if batch:
        yield _emptied(batch)


def _emptied(batch: list[Item]) -> list[Item]:
    content = batch.copy()
    batch.clear()
    return content


def _failed(frame_index: int, error: Exception) -> FrameOcr:
    return FrameOcr(frame_index, "failed", error=str(error) or type(error).__name__)
