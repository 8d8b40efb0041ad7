"""Single calls of compute functions, and running several of them in parallel."""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol

from modal_gpu.contracts import Progress, no_progress
from modal_gpu.errors import RemoteTimeoutError

FunctionName = Literal[
    "extract_frames_and_ocr", "crop_and_infer_caption_frame_extents", "generate_caption_ocr"
]
#: How often ``progress`` is called while no call reports anything, in seconds.
_HEARTBEAT_SECONDS = 1.0

Step = tuple[str, int, int]
Errors = type[Exception] | tuple[type[Exception], ...]


@dataclass(frozen=True)
class ComputeCall:
    """One call of one function, as plain data. ``request`` is :func:`to_wire` of the request."""

    function: FunctionName
    tenant_id: str
    video_id: str
    request: dict[str, Any]


@dataclass(frozen=True)
class CallReport:
    """The outcome of one billed call, for a run's metadata and its cost.

    ``seconds``, ``cold_start_seconds`` and ``gpu`` are the function's own figures, ``None`` where it could
    not measure them. ``attached``: an earlier attempt started the call. ``first_taken`` is true for one
    attempt only, so that a cost is counted once.
    """

    compute_call_id: str
    function: str
    call_id: str | None
    url: str | None
    outcome: Literal["succeeded", "failed"]
    attached: bool
    first_taken: bool
    gpu: str | None = None
    seconds: float | None = None
    cold_start_seconds: float | None = None


class Backend(Protocol):
    """Runs single calls, several at once from different threads."""

    @property
    def is_billed(self) -> bool:
        """True if calls cost money. Each call then has a row in the catalogue's ``compute_calls``."""
        ...

    def call(self, call: ComputeCall, progress: Progress = no_progress) -> Any:
        """Block until the call ends; return its result as wire data (a list of them for caption OCR).

        ``progress`` is called at least every few seconds while the call waits or runs; an exception
        that it raises cancels the call and is passed on.
        """
        ...

    def take_reports(self) -> list[CallReport]:
        """Return the reports of billed calls that ended since the last time, and forget them."""
        ...


class CallsEndedError(Exception):
    """Raised inside a call's progress to end it because another call failed or was cancelled."""


def run_calls(
    backend: Backend,
    calls: Sequence[ComputeCall],
    max_parallel: int,
    progress: Progress = no_progress,
    *,
    tolerated: Errors = (),
) -> list[Any]:
    """Return the results of all calls, in their order; at most ``max_parallel`` run at once.

    A single call runs in this thread. ``progress`` is always called in this thread, with sums over the
    calls. When it or a call raises, running calls are cancelled, waiting calls are dropped, and the error
    is passed on once all have ended. Errors of a ``tolerated`` type are returned in place of a result. After
    a :class:`RemoteTimeoutError` no further call starts, but running calls may finish: their results are
    kept for a retry.
    """
    if len(calls) == 1:
        try:
            return [backend.call(calls[0], progress)]
        except tolerated as error:
            return [error]
    return _ParallelCalls(backend, calls, progress, tolerated).run(max_parallel)


class _ParallelCalls:
    """State that the threads of one :func:`run_calls` share."""

    def __init__(
        self, backend: Backend, calls: Sequence[ComputeCall], progress: Progress, tolerated: Errors
    ) -> None:
        self._backend, self._calls = backend, calls
        self._progress, self._tolerated = progress, tolerated
        self._ended, self._timed_out = threading.Event(), threading.Event()
        self._reported: SimpleQueue[tuple[int, Step]] = SimpleQueue()
        self._tally = _Tally(len(calls))

    def run(self, max_parallel: int) -> list[Any]:
        workers = min(max_parallel, len(self._calls))
        with ThreadPoolExecutor(workers, thread_name_prefix="call") as pool:
            futures: list[Future[Any]] = [
                pool.submit(copy_context().run, self._run_one, place) for place in range(len(self._calls))
            ]
            try:
                waiting = set(futures)
                while waiting:
                    done, waiting = wait(waiting, _HEARTBEAT_SECONDS, FIRST_COMPLETED)
                    for step in self._new_steps() or self._tally.last():
                        self._progress(*step)
                    _raise_error(done, but=RemoteTimeoutError)
            except BaseException:
                self._ended.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        _raise_error(futures)
        return [future.result() for future in futures]

    def _run_one(self, place: int) -> Any:
        def report(stage: str, done: int, total: int) -> None:
            if self._ended.is_set():
                raise CallsEndedError
            self._reported.put((place, (stage, done, total)))

        if self._ended.is_set() or self._timed_out.is_set():
            raise CallsEndedError
        try:
            return self._backend.call(self._calls[place], report)
        except self._tolerated as error:
            return error
        except RemoteTimeoutError:
            self._timed_out.set()
            raise
        except BaseException:
            self._ended.set()  # in this thread, before it takes the next waiting call
            raise

    def _new_steps(self) -> list[Step]:
        """Return the progress reported since the last time, as one step for each stage."""
        steps: dict[str, Step] = {}
        while True:
            try:
                place, step = self._reported.get_nowait()
            except Empty:
                return list(steps.values())
            merged = self._tally.add(place, step)
            steps[merged[0]] = merged


def _raise_error(done: Iterable[Future[Any]], but: Errors = ()) -> None:
    """Raise the error that one of ``done`` ended with, unless another call's error caused it."""
    for future in done:
        error = future.exception()
        if error is not None and not isinstance(error, CallsEndedError) and not isinstance(error, but):
            raise error


class _Tally:
    """Progress summed over several calls. Calls that reported no total yet count as average."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._stages: dict[str, dict[int, tuple[int, int]]] = {}
        self._last: Step | None = None

    def add(self, place: int, step: Step) -> Step:
        stage, done, total = step
        parts = self._stages.setdefault(stage, {})
        parts[place] = done, total
        expected = round(sum(total for _, total in parts.values()) * self._calls / len(parts))
        self._last = stage, sum(done for done, _ in parts.values()), expected
        return self._last

    def last(self) -> list[Step]:
        return [] if self._last is None else [self._last]
