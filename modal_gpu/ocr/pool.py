"""Many images through OCR at once: one single-threaded engine a core.

Threads, not processes: onnxruntime releases the GIL. 30 frames of 720p on 2 cores took 7.2 s with one
engine, 4.0 s with two threads, and 6.0 s with two spawned processes, of which 2 s are their start.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType

import numpy as np

from modal_gpu.cores import available_cores
from modal_gpu.errors import OcrError
from modal_gpu.ocr.engine import FrameOcr, OcrEngine

#: Images held for each worker: the one being read and the next.
_IN_FLIGHT_A_WORKER = 2


class OcrPool:
    """Engines and the threads that drive them. Use it as a context manager, for as many maps as needed.

    Leaving the context, also by an interrupt, drops what is queued and waits only for the images that are
    being read at that moment.
    """

    def __init__(self, engine_factory: Callable[[], OcrEngine], workers: int | None = None) -> None:
        """``workers`` defaults to the cores this process may use.

        Raises what ``engine_factory`` raises, such as :class:`OcrError` for a missing model file.
        """
        self.workers = workers or available_cores()
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="ocr")
        self._idle: SimpleQueue[OcrEngine] = SimpleQueue()
        try:
            for engine in self._threads.map(lambda _: engine_factory(), range(self.workers)):
                self._idle.put(engine)
        except BaseException:
            self.close()
            raise

    def map(self, items: Iterable[tuple[int, np.ndarray]]) -> Iterator[FrameOcr]:
        """Read ``(frame_index, image)`` pairs; results in the order of ``items``, as they get ready.

        Images are uint8 RGB of H × W × 3. They are drawn from ``items`` only as workers get free, two a
        worker at most. An image on which the engine fails gives a frame with status ``failed`` and the
        message; :class:`OcrError` is raised at the end when that happened to all of them.
        """
        waiting: deque[Future[FrameOcr]] = deque()
        failed: list[FrameOcr] = []
        total = 0
        try:
            source = iter(items)
            exhausted = False
            while waiting or not exhausted:
                while not exhausted and len(waiting) < _IN_FLIGHT_A_WORKER * self.workers:
                    item = next(source, None)
                    if item is None:
                        exhausted = True
                    else:
                        waiting.append(self._threads.submit(self._read, *item))
                        # Not held here while it waits to be drawn again.
                        del item
                if waiting:
                    frame = waiting.popleft().result()
                    total += 1
                    if frame.status == "failed":
                        failed.append(frame)
                    yield frame
        finally:
            for future in waiting:
                future.cancel()
        if total and len(failed) == total:
            raise OcrError(
                f"OCR failed on all {total} images, first on {failed[0].frame_index}: {failed[0].error}"
            )

    def _read(self, frame_index: int, image: np.ndarray) -> FrameOcr:
        engine = self._idle.get()
        try:
            return FrameOcr.of(frame_index, engine.recognize(image))
        except Exception as error:  # any failure of one image is that image's result
            return FrameOcr(frame_index, "failed", error=str(error) or type(error).__name__)
        finally:
            self._idle.put(engine)

    def close(self) -> None:
        """Drop what is queued, wait for what is being read. May be called twice."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "OcrPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
