"""What stands around a request and its result on the wire, and how a container answers.

A call is one dictionary, ``{"contract": 1, "request": {…}, "progress": {"queue", "partition"} | None}``.
The answer is ``{"ok": True, "result": … , "usage": {…}}``, or ``{"ok": False, "error": {"type", "message",
"retryable"}, "usage": {…}}`` for an error of this project. Anything else that goes wrong is raised as
a ``RuntimeError``, because only builtin exceptions mean the same at both ends. No text that leaves
here holds a secret of the container's environment.
"""

import json
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from modal_gpu.contracts import Progress, from_wire, no_progress, to_wire
from modal_gpu.errors import CaptionAccError, ContractError
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.storage import ObjectStore

#: Version of the envelope and of the requests in it.
CONTRACT = 1
#: Progress messages that wait for a slow queue; more are left out.
_MAX_WAITING = 100
#: How long a finished call waits for its last messages to go out, seconds.
_LAST_MESSAGES_SECONDS = 3.0
_SECRET_NAME = re.compile(r"SECRET|KEY|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE)

R = TypeVar("R")


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ProgressAddress:
    """Queue and partition that hear how far a call is."""

    queue: Annotated[str, Field(min_length=1, max_length=64)]
    partition: Annotated[str, Field(min_length=1, max_length=64)]


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Call:
    """The envelope of a request."""

    contract: int
    request: dict[str, Any]
    progress: ProgressAddress | None = None


class Queue(Protocol):
    """What is used of ``modal.Queue``."""

    def put(self, v: Any, block: bool = ..., *, partition: str | None = ...) -> None: ...


@dataclass(frozen=True)
class Container:
    """What a container's calls share. ``gpu`` and ``container_id`` are what usage is counted by."""

    store: ObjectStore
    settings: ComputeSettings
    gpu: str
    container_id: str
    #: Seconds from the import of the app until the first call could be answered.
    cold_start_seconds: Callable[[], float]


def call_of(request: Any, progress: ProgressAddress | None = None) -> dict[str, Any]:
    """The envelope around a contract request, as the caller sends it."""
    return to_wire(Call(CONTRACT, to_wire(request), progress))


def answer(
    envelope: Mapping[str, Any],
    kind: type[R],
    work: Callable[[R, ObjectStore, ComputeSettings, Progress], Any],
    open_container: Callable[[], Container],
    open_queue: Callable[[str], Queue],
    call_id: str | None = None,
) -> dict[str, Any]:
    """Do the work that an envelope asks for and put its result, or its error, into an answer.

    ``kind`` is the request's dataclass, ``work`` the function's core, ``call_id`` what Modal calls this
    call. Raises ``RuntimeError`` for errors that are not this project's.
    """
    start = time.monotonic()
    container: Container | None = None
    unexpected = ""
    outcome: dict[str, Any] = {}
    images_before = 0
    try:
        call = _read(envelope)
        request = from_wire(kind, call.request)
        container = open_container()
        cold = container.cold_start_seconds()
        images_before = container.settings.vision_images.count
        with _listener(call.progress, open_queue, call_id) as progress:
            result = work(request, container.store, container.settings, progress)
        wire = [to_wire(part) for part in result] if isinstance(result, list) else to_wire(result)
        outcome = {"ok": True, "result": wire}
    except CaptionAccError as error:
        outcome = {"ok": False, "error": _describe(error)}
    except Exception as error:
        unexpected = without_secrets(f"{type(error).__name__}: {error}")
        _log(without_secrets(traceback.format_exc()))
    if unexpected:
        # Raised here, where no other exception is being handled that would go along with it.
        raise RuntimeError(unexpected)
    usage = {
        "gpu": container.gpu if container else "",
        "seconds": time.monotonic() - start,
        "cold_start_seconds": cold if container else 0.0,
        "container_id": container.container_id if container else "",
        # The engines count for the container, which takes one call at a time.
        "vision_images": container.settings.vision_images.count - images_before if container else 0,
    }
    return {"contract": CONTRACT, **outcome, "usage": usage}


def _read(envelope: Mapping[str, Any]) -> Call:
    version = envelope.get("contract") if isinstance(envelope, Mapping) else None
    if version != CONTRACT:
        raise ContractError(
            f"the call speaks contract {version!r}, the deployed app {CONTRACT}: "
            "deploy the app and the orchestrator from the same version"
        )
    return from_wire(Call, envelope)


def _describe(error: CaptionAccError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": without_secrets(str(error)),
        "retryable": error.retryable,
    }


class QueueProgress:
    """A progress listener that tells a queue, about once a second and at the ends of each stage.

    Messages are ``{"stage", "done", "total"}``, with ``"call_id"`` where Modal has one; a message with the
    id alone is the first. They go out from a thread of their own: a queue that is slow or gone neither
    holds up nor fails the work.
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
                    _log(without_secrets(f"progress is not heard: {type(error).__name__}: {error}"))
                is_silent = True

    def close(self) -> None:
        """Wait a little for what is still to be sent."""
        self._waiting.put(None)
        self._thread.join(_LAST_MESSAGES_SECONDS)


class _listener:
    """The listener of a call, as a context manager; nobody listens without an address."""

    def __init__(
        self, address: ProgressAddress | None, open_queue: Callable[[str], Queue], call_id: str | None
    ) -> None:
        self._address, self._open, self._call_id = address, open_queue, call_id
        self._progress: QueueProgress | None = None

    def __enter__(self) -> Progress:
        if self._address is None:
            return no_progress
        address, queue = self._address, None

        def put(message: dict[str, Any]) -> None:
            nonlocal queue
            queue = queue or self._open(address.queue)
            queue.put(message, False, partition=address.partition)

        self._progress = QueueProgress(put, self._call_id)
        return self._progress

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.close()


def without_secrets(text: str, environ: Mapping[str, str] | None = None) -> str:
    """The text with every secret value of the environment replaced by ``•••``."""
    for value in _secret_values(os.environ if environ is None else environ):
        text = text.replace(value, "•••")
    return text


def _secret_values(environ: Mapping[str, str]) -> list[str]:
    """Values of variables named like secrets, and the strings in those that hold JSON; longest first."""
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
