"""Many images through OCR at once: one single-threaded engine a core.

Threads, not processes: onnxruntime releases the GIL. 30 frames of 720p on 2 cores took 7.2 s with one
engine, 4.0 s with two threads, and 6.0 s with two spawned processes, of which 2 s are their start.
An engine that reads several images a call (:class:`BatchOcrEngine`) is given them in batches.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType

import numpy as np

from modal_gpu.byte_queue import items_within
from modal_gpu.cores import available_cores
from modal_gpu.errors import ConfigurationError, OcrError, OcrUnavailableError
from modal_gpu.ocr.engine import BatchLimits, BatchOcrEngine, FrameOcr, OcrEngine

#: Images, or batches of them, held for each worker: the one being read and the next.
_IN_FLIGHT_A_WORKER = 2
#: Bytes of images held at once, as long as there is more than one batch.
_IN_FLIGHT_BYTES = 256 * 2**20

#: ``(frame_index, image)``.
Item = tuple[int, np.ndarray]


class OcrPool:
    """Engines and the threads that drive them. Use it as a context manager, for as many maps as needed.

    Leaving the context, also by an interrupt, drops what is queued and waits only for the images that are
    being read at that moment.
    """

    def __init__(
        self, engine_factory: Callable[[], OcrEngine | BatchOcrEngine], workers: int | None = None
    ) -> None:
        """``workers`` defaults to the cores this process may use.

        Raises what ``engine_factory`` raises, such as :class:`OcrError` for a missing model file.
        """
        self.workers = workers or available_cores()
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="ocr")
        #: Of the map under way, by all threads.
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
        """Read ``(frame_index, image)`` pairs; results in the order of ``items``, as they get ready.

        Images are uint8 RGB of H × W × 3. They are drawn from ``items`` only as workers get free, two a
        worker at most, or two batches of what the engine takes at once. An image on which the engine
        fails gives a frame with status ``failed`` and the message; :class:`OcrError` is raised at the
        end when that happened to all of them (:class:`OcrUnavailableError` when a service did not answer
        for any), :class:`ConfigurationError` at once.
        """
        waiting: deque[Future[list[FrameOcr]]] = deque()
        failed: list[FrameOcr] = []
        self._unanswered.clear()
        total = 0
        try:
            source = batches(items, self._limits)
            exhausted = False
            most = _IN_FLIGHT_A_WORKER * self.workers
            while waiting or not exhausted:
                while not exhausted and len(waiting) < most:
                    batch = next(source, None)
                    if batch is None:
                        exhausted = True
                    else:
                        size = sum(image.nbytes for _, image in batch)
                        most = items_within(size, _IN_FLIGHT_A_WORKER * self.workers, _IN_FLIGHT_BYTES)
                        waiting.append(self._threads.submit(self._read, batch))
                        # Not held here while it waits to be drawn again.
                        del batch
                if waiting:
                    for frame in waiting.popleft().result():
                        total += 1
                        if frame.status == "failed":
                            failed.append(frame)
                        yield frame
        finally:
            for future in waiting:
                future.cancel()
        if total and len(failed) == total:
            # An outage may be over at the next try; the images are not to blame.
            kind = OcrUnavailableError if len(self._unanswered) == total else OcrError
            raise kind(
                f"OCR failed on all {total} images, first on {failed[0].frame_index}: {failed[0].error}"
            )

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
        except Exception as error:  # any failure of one image is that image's result
            self._unanswered.extend([error] * len(batch) if isinstance(error, OcrUnavailableError) else [])
            return [_failed(index, error) for index, _ in batch]
        finally:
            self._idle.put(engine)

    def close(self) -> None:
        """Drop what is queued, wait for what is being read. May be called twice."""
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
    """``items`` in their order, in batches within ``limits``; at most one is drawn ahead of a batch."""
    batch: list[Item] = []
    pixels = 0
    for item in items:
        size = item[1].shape[0] * item[1].shape[1]
        if batch and limits.pixels is not None and pixels + size > limits.pixels:
            yield _emptied(batch)
            pixels = 0
        batch.append(item)
        pixels += size
        # No wait for the next image where this one fills the batch, and no hold on this one.
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
