"""A container's handling of a call: its request, its work, its progress, and the form of its answer.

Callers of their own get the result alone, and a builtin exception that names this project's error. A call
with ``contract`` gets an answer with its usage: ``{"contract", "ok": True, "result": … , "usage": {…}}``, or
``{"contract", "ok": False, "error": {"type", "message", "retryable"}, "usage": {…}}`` for an error of this
project. Other exceptions are raised as ``RuntimeError``, since only builtin exceptions are the same at both
ends. No outgoing text contains a secret of the container's environment.
"""

import json
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from modal_gpu.contracts import CaptionOcrRequest, Progress, no_progress, to_wire
from modal_gpu.deployment.calls import Call, Keywords, ProgressAddress, Request, contract_of, read_call
from modal_gpu.errors import BadVideoError, CaptionAccError, ContractError, InvalidCropRegionError
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.storage import ObjectStore

#: Largest number of progress messages that wait for a slow queue; more are dropped.
_MAX_WAITING = 100
#: Seconds that a finished call waits for its last messages to be sent.
_LAST_MESSAGES_SECONDS = 3.0
_SECRET_NAME = re.compile(r"SECRET|KEY|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE)

#: The core of a function. Its result is a contract dataclass, or a list of them.
Work = Callable[[Any, ObjectStore, ComputeSettings, Progress], Any]


class Queue(Protocol):
    """The used part of ``modal.Queue``."""

    def put(self, v: Any, block: bool = ..., *, partition: str | None = ...) -> None: ...


@dataclass(frozen=True)
class Container:
    """The state that a container's calls share. Usage is counted by ``gpu`` and ``container_id``."""

    store: ObjectStore
    settings: ComputeSettings
    gpu: str
    container_id: str
    #: Seconds from the app's import to the first call; 0 for later calls.
    cold_start_seconds: Callable[[], float]


class _Usage:
    """A call's usage, which is empty until its container is open."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._container: Container | None = None
        self._cold_start = 0.0
        self._images_before = 0

    def opened(self, container: Container) -> Container:
        """Start counting for ``container``; return it."""
        self._container = container
        self._cold_start = container.cold_start_seconds()
        self._images_before = container.settings.vision_images.count
        return container

    def report(self) -> dict[str, Any]:
        """Return the usage as it is on the wire."""
        container = self._container
        # The engines count for the container, which handles one call at a time.
        images = container.settings.vision_images.count - self._images_before if container else 0
        return {
            "gpu": container.gpu if container else "",
            "seconds": time.monotonic() - self._start,
            "cold_start_seconds": self._cold_start,
            "container_id": container.container_id if container else "",
            "vision_images": images,
        }


def answer(
    function: str,
    given: Keywords,
    work: Work,
    open_container: Callable[[], Container],
    open_queue: Callable[[str], Queue],
    call_id: str | None = None,
) -> Any:
    """Process a call of a function; return its result, or its answer if the call gives a contract.

    ``given`` are the call's keywords, ``work`` the function's core, ``call_id`` Modal's id of the call.
    Raises ``ValueError`` and ``RuntimeError``: see the module.
    """
    contract, usage = contract_of(given), _Usage()
    unexpected = ""
    outcome: dict[str, Any] = {}
    failure: Exception | None = None
    try:
        call = read_call(function, given)
        container = usage.opened(open_container())
        with _listener(call.progress, open_queue, call_id) as progress:
            outcome = {"ok": True, "result": done(call, container, work, progress)}
    except CaptionAccError as error:
        outcome = {"ok": False, "error": described(error)}
        failure = builtin_error(error)
    except Exception as error:
        unexpected = without_secrets(f"{type(error).__name__}: {error}")
        _log(without_secrets(traceback.format_exc()))
    # Raised outside of the handlers, so that the original exception is not the context.
    if unexpected:
        raise RuntimeError(unexpected)
    if contract is None:
        if failure is not None:
            raise failure
        return outcome["result"]
    return {"contract": contract, **outcome, "usage": usage.report()}


def done(call: Call, container: Container, work: Work, progress: Progress) -> Any:
    """Do a call's work; return its result as plain data."""
    request: Request = call.request(container.store)
    result = work(request, container.store, container.settings, progress)
    if call.is_single and isinstance(request, CaptionOcrRequest):
        from modal_gpu.functions.caption_ocr import single

        return to_wire(single(request, result))
    return [to_wire(part) for part in result] if isinstance(result, list) else to_wire(result)


def described(error: CaptionAccError) -> dict[str, Any]:
    """Return an error of this project as plain data."""
    return {
        "type": type(error).__name__,
        "message": without_secrets(str(error)),
        "retryable": error.retryable,
    }


def builtin_error(error: CaptionAccError) -> Exception:
    """Return the exception that a caller without this project gets: ``ValueError`` for wrong input."""
    is_input = isinstance(error, ValueError | ContractError | InvalidCropRegionError | BadVideoError)
    kind = ValueError if is_input else RuntimeError
    return kind(f"{type(error).__name__}: {without_secrets(str(error))}")


class QueueProgress:
    """A progress listener that sends to a queue, about once a second and at both ends of each stage.

    Messages are ``{"stage", "done", "total"}``, with ``"call_id"`` if Modal has one; the first message then
    contains only the id. A separate thread sends them, so that a slow or missing queue neither delays nor
    fails the work.
    """

    def __init__(
        self,
        put: Callable[[dict[str, Any]], None],
        call_id: str | None = None,
        *,
        every_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._put, self._every, self._clock = put, every_seconds, clock
        self._id = {"call_id": call_id} if call_id else {}
        self._lock = threading.Lock()
        self._stage: str | None = None
        self._last = 0.0
        self._waiting: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        if self._id:
            self._waiting.put(self._id)
        self._thread = threading.Thread(target=self._send, name="progress", daemon=True)
        self._thread.start()

    def __call__(self, stage: str, done: int, total: int) -> None:
        with self._lock:
            now = self._clock()
            is_end = stage != self._stage or done >= total
            if (not is_end and now - self._last < self._every) or self._waiting.qsize() >= _MAX_WAITING:
                return
            self._stage, self._last = stage, now
        self._waiting.put({"stage": stage, "done": done, "total": total, **self._id})

    def _send(self) -> None:
        is_silent = False
        while (message := self._waiting.get()) is not None:
            try:
                self._put(message)
            except Exception as error:
                if not is_silent:
                    _log(without_secrets(f"progress cannot be sent: {type(error).__name__}: {error}"))
                is_silent = True

    def close(self) -> None:
        """Wait for unsent messages, for at most :data:`_LAST_MESSAGES_SECONDS`."""
        self._waiting.put(None)
        self._thread.join(_LAST_MESSAGES_SECONDS)


@contextmanager
def _listener(
    address: ProgressAddress | None, open_queue: Callable[[str], Queue], call_id: str | None
) -> Iterator[Progress]:
    """Open the listener of a call; without an address progress is ignored."""
    if address is None:
        yield no_progress
        return
    queue: Queue | None = None

    def put(message: dict[str, Any]) -> None:
        nonlocal queue
        queue = queue or open_queue(address.queue)
        queue.put(message, False, partition=address.partition)

    progress = QueueProgress(put, call_id)
    try:
        yield progress
    finally:
        progress.close()


def without_secrets(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the text with every secret value of the environment replaced by ``•••``."""
    for value in _secret_values(os.environ if environ is None else environ):
        text = text.replace(value, "•••")
    return text


def _secret_values(environ: Mapping[str, str]) -> list[str]:
    """Return the values of variables named like secrets, and the secrets in JSON values; longest first."""
    found: set[str] = set()
    for name, value in environ.items():
        if not _SECRET_NAME.search(name):
            continue
        found.add(value)
        if value.lstrip().startswith("{"):
            found.update(_json_secrets(value))
    return sorted((value for value in found if len(value) >= 8), key=len, reverse=True)


def _json_secrets(text: str) -> Iterator[str]:
    try:
        content = json.loads(text)
    except ValueError:
        return
    for name, value in content.items():
        if isinstance(value, str) and _SECRET_NAME.search(name):
            yield value
            yield json.dumps(value)[1:-1]


def _log(text: str) -> None:
    sys.stderr.write(text.rstrip() + "\n")
