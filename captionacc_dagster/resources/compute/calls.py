"""Single calls of compute functions, and several of them side by side."""

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
#: How often the caller's progress hears of calls that are silent, in seconds.
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


class Backend(Protocol):
    """Runs single calls, several at once from different threads."""

    def call(self, call: ComputeCall, progress: Progress = no_progress) -> Any:
        """Block until the call is done; its result as wire data (a list of them for caption OCR).

        ``progress`` is called every few seconds at least while the call waits or runs; an exception
        that it raises cancels the call and is passed on.
        """
        ...


class CallsEndedError(Exception):
    """Raised inside a call's progress when it is to end because another one failed or was cancelled."""


def run_calls(
    backend: Backend,
    calls: Sequence[ComputeCall],
    max_parallel: int,
    progress: Progress = no_progress,
    *,
    tolerated: Errors = (),
) -> list[Any]:
    """The results of all calls, in their order, ``max_parallel`` at once; a single one runs right here.

    ``progress`` is called in this thread, with sums over the calls. When it raises, or a call does, the
    calls that run are cancelled, those that wait are dropped, and the error is passed on once all have
    ended. Errors of a ``tolerated`` type stand in the list instead. After a call that ran into its time
    limit no other begins, but those that run may end: their results are kept for a retry.
    """
    if len(calls) == 1:
        try:
            return [backend.call(calls[0], progress)]
        except tolerated as error:
            return [error]
    ended, late = threading.Event(), threading.Event()
    heard: SimpleQueue[tuple[int, Step]] = SimpleQueue()
    tally = _Tally(len(calls))

    def one(place: int) -> Any:
        def tell(stage: str, done: int, total: int) -> None:
            if ended.is_set():
                raise CallsEndedError
            heard.put((place, (stage, done, total)))

        if ended.is_set() or late.is_set():
            raise CallsEndedError
        try:
            return backend.call(calls[place], tell)
        except tolerated as error:
            return error
        except RemoteTimeoutError:
            late.set()
            raise
        except BaseException:
            ended.set()  # here, before this thread takes a call that waits
            raise

    with ThreadPoolExecutor(min(max_parallel, len(calls)), thread_name_prefix="call") as pool:
        futures: list[Future[Any]] = [
            pool.submit(copy_context().run, one, place) for place in range(len(calls))
        ]
        try:
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, _HEARTBEAT_SECONDS, FIRST_COMPLETED)
                for step in _drained(heard, tally) or tally.last():
                    progress(*step)
                _raise_error(done, but=RemoteTimeoutError)
        except BaseException:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    _raise_error(futures)
    return [future.result() for future in futures]


def _raise_error(
    done: Iterable[Future[Any]], but: tuple[type[Exception], ...] | type[Exception] = ()
) -> None:
    """Raise the error that one of ``done`` ended with, unless that only followed from another's."""
    for future in done:
        error = future.exception()
        if error is not None and not isinstance(error, CallsEndedError) and not isinstance(error, but):
            raise error


def _drained(heard: "SimpleQueue[tuple[int, Step]]", tally: "_Tally") -> list[Step]:
    """What was heard since the last time, as one step a stage."""
    steps: dict[str, Step] = {}
    while True:
        try:
            place, step = heard.get_nowait()
        except Empty:
            return list(steps.values())
        merged = tally.add(place, step)
        steps[merged[0]] = merged


class _Tally:
    """Steps of several calls as those of one. Calls that have not told a total are taken for average."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._stages: dict[str, dict[int, tuple[int, int]]] = {}
        self._last: Step | None = None

    def add(self, place: int, step: Step) -> Step:
        stage, done, total = step
        parts = self._stages.setdefault(stage, {})
        parts[place] = done, total
        of = round(sum(total for _, total in parts.values()) * self._calls / len(parts))
        self._last = stage, sum(done for done, _ in parts.values()), of
        return self._last

    def last(self) -> list[Step]:
        return [] if self._last is None else [self._last]
