"""The part of Modal's client that the platform uses, over a folder instead of a cloud.

Same names, signatures and exceptions as ``modal`` 1.6.4 (``test_modal_stand_in.py`` compares them).
State is files in one folder, so that a call outlives the process that made it, as on Modal: tests
that kill a process look for its calls in another. Payloads and results go through JSON, which is
stricter than Modal's pickle, so that only plain data crosses. What Modal's servers do beyond this
(queues, containers, retries) is not simulated: a test says what a call's outcome is, and when.
"""

import builtins
import itertools
import json
import os
import queue
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modal import exception

_LOOK_SECONDS = 0.005


class Service:
    """The service and the client's module in one; pass it where ``modal`` is wanted.

    ``undeployed`` names functions that are not there. ``faults`` holds what the next uses raise: an
    exception, a callable that is called with the call's id, or ``None`` for a use that goes well.
    ``after_spawn`` is between the moment a call is taken and the moment its caller hears of it.
    """

    exception = exception

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "calls").mkdir(parents=True, exist_ok=True)
        self.undeployed: set[str] = set()
        self.faults: dict[str, list[Any]] = {
            "spawn": [],
            "get": [],
            "cancel": [],
            "queue": [],
            "after_spawn": [],
        }
        #: Called with (id, payload) when a call was taken; answer there, or later from anywhere.
        self.on_spawn: Callable[[str, dict[str, Any]], None] = lambda call_id, payload: None
        #: What deployed functions do, by name: their calls are worked on at once, in the caller's thread.
        self.deployed: dict[str, Callable[..., Any]] = {}
        self.on_get: Callable[[str], None] = lambda call_id: None
        self.polls = 0
        self._guard = threading.Lock()
        self._numbers = itertools.count()

        class BoundFunction(Function):
            _service = self

        class BoundFunctionCall(FunctionCall):
            _service = self

        class BoundQueue(Queue):
            _service = self

        self.Function, self.FunctionCall, self.Queue = BoundFunction, BoundFunctionCall, BoundQueue

    # -- for tests ---------------------------------------------------------------------------

    @property
    def spawned(self) -> list[str]:
        """Ids of the calls that were taken, oldest first."""
        files = (self.folder / "calls").glob("*.call.json")
        return sorted((path.name.removesuffix(".call.json") for path in files), key=self._when)

    def _when(self, call_id: str) -> int:
        return self._file(call_id, "call.json").stat().st_mtime_ns

    @property
    def cancelled(self) -> list[str]:
        return [call_id for call_id in self.spawned if self._file(call_id, "cancelled").exists()]

    def payload(self, call_id: str) -> dict[str, Any]:
        """``function``, ``app``, ``environment`` and ``args`` of a call."""
        return json.loads(self._file(call_id, "call.json").read_text())

    def answer(self, call_id: str, value: Any) -> None:
        """The function returned ``value``."""
        self._write(self._file(call_id, "outcome.json"), {"value": value})

    def succeed(self, call_id: str, result: Any, **usage: Any) -> None:
        """The function answered in the project's envelope."""
        answer = {"ok": True, "result": result}
        self.answer(call_id, answer | ({"usage": usage} if usage else {}))

    def end(self, call_id: str, error: str, message: str = "") -> None:
        """The call ended with an exception of this name, of Modal or built in."""
        self._write(self._file(call_id, "outcome.json"), {"error": error, "message": message})

    def work(self, call_id: str, function: Callable[..., Any]) -> None:
        """Execute a call as a container does. As on Modal, only importable exceptions keep their class."""
        payload = self.payload(call_id)
        try:
            self.answer(call_id, function(*payload["args"], **payload["kwargs"]))
        except Exception as error:
            is_builtin = getattr(builtins, type(error).__name__, None) is type(error)
            self.end(call_id, type(error).__name__ if is_builtin else "ExecutionError", str(error))

    def say(self, partition: str, *messages: dict[str, Any], name: str = "captionacc-progress") -> None:
        """The container writes into its partition of the queue."""
        for message in messages:
            number = f"{time.time_ns():020d}-{next(self._numbers):06d}.json"
            self._write(self.folder / "queues" / name / partition / number, message)

    def wait_for_spawn(
        self, count: int = 1, seconds: float = 20, process: subprocess.Popen[bytes] | None = None
    ) -> list[str]:
        """Wait for so many calls, in vain if ``process``, which makes them, has ended."""
        deadline = time.monotonic() + seconds
        while len(self.spawned) < count:
            assert time.monotonic() < deadline, "nothing was spawned"
            assert process is None or process.poll() is None, "the process ended without a call"
            time.sleep(_LOOK_SECONDS)
        return self.spawned

    # -- for the classes below ---------------------------------------------------------------

    def _file(self, call_id: str, kind: str) -> Path:
        return self.folder / "calls" / f"{call_id}.{kind}"

    def _write(self, path: Path, value: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        scratch.write_text(json.dumps(value, allow_nan=False))
        scratch.rename(path)

    def _fault(self, use: str, call_id: str = "") -> None:
        with self._guard:
            fault = self.faults[use].pop(0) if self.faults[use] else None
        if isinstance(fault, BaseException) or (isinstance(fault, type) and issubclass(fault, BaseException)):
            raise fault
        if fault is not None:
            fault(call_id)


class Function:
    """``modal.Function``: from_name, spawn, remote and remote_gen."""

    _service: Service

    def __init__(self, app: str, name: str, environment: str | None) -> None:
        self._app, self._name, self._environment = app, name, environment

    @classmethod
    def from_name(
        cls,
        app_name: str,
        name: str,
        *,
        version: int | None = None,
        environment_name: str | None = None,
        client: Any = None,
    ) -> "Function":
        return cls(app_name, name, environment_name)  # no request is made until it is used

    def spawn(self, *args: Any, **kwargs: Any) -> "FunctionCall":
        service = self._service
        if self._name in service.undeployed:
            raise exception.NotFoundError(
                f"Lookup failed for Function '{self._name}' from the '{self._app}' app"
            )
        call_id = f"fc-{uuid.uuid4().hex}"
        service._fault("spawn", call_id)
        payload = {
            "function": self._name,
            "app": self._app,
            "environment": self._environment,
            "args": args,
            "kwargs": kwargs,
        }
        service._write(service._file(call_id, "call.json"), payload)
        service.on_spawn(call_id, service.payload(call_id))
        if self._name in service.deployed:
            service.work(call_id, service.deployed[self._name])
        service._fault("after_spawn", call_id)
        return service.FunctionCall(call_id)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        return self.spawn(*args, **kwargs).get()

    def remote_gen(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        service = self._service
        if self._name not in service.deployed:
            raise exception.NotFoundError(f"Lookup failed for Function '{self._name}'")
        given = json.loads(json.dumps(kwargs, allow_nan=False))
        for item in service.deployed[self._name](*args, **given):
            yield json.loads(json.dumps(item, allow_nan=False))


class FunctionCall:
    """``modal.FunctionCall``: from_id, get and cancel. A result can be had again and again."""

    _service: Service

    def __init__(self, object_id: str) -> None:
        self.object_id = object_id

    @classmethod
    def from_id(cls, function_call_id: str, client: Any = None) -> "FunctionCall":
        return cls(function_call_id)

    def get(self, timeout: float | None = None, *, index: int = 0) -> Any:
        service = self._service
        service.polls += 1
        service.on_get(self.object_id)
        service._fault("get", self.object_id)
        if not service._file(self.object_id, "call.json").exists():
            raise exception.NotFoundError(f"No function call with ID {self.object_id}")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if service._file(self.object_id, "cancelled").exists():
                raise exception.RemoteError("Function call was cancelled by user.")
            if (outcome := service._file(self.object_id, "outcome.json")).exists():
                return self._outcome(json.loads(outcome.read_text()))
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError
            time.sleep(_LOOK_SECONDS)

    @staticmethod
    def _outcome(outcome: dict[str, Any]) -> Any:
        if "value" in outcome:
            return outcome["value"]
        kind = getattr(exception, outcome["error"], None) or getattr(builtins, outcome["error"])
        raise kind(outcome["message"])

    def cancel(self, terminate_containers: bool = False) -> None:
        service = self._service
        service._fault("cancel", self.object_id)
        if not service._file(self.object_id, "outcome.json").exists():
            service._file(self.object_id, "cancelled").touch()


class Queue:
    """``modal.Queue``: from_name, put and get_many."""

    _service: Service

    def __init__(self, name: str) -> None:
        self._name = name

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        environment_name: str | None = None,
        create_if_missing: bool = False,
        client: Any = None,
    ) -> "Queue":
        return cls(name)

    def put(
        self,
        v: Any,
        block: bool = True,
        timeout: float | None = None,
        *,
        partition: str | None = None,
        partition_ttl: int = 24 * 3600,
    ) -> None:
        self._service.say(partition or "", v, name=self._name)

    def get_many(
        self, n_values: int, block: bool = True, timeout: float | None = None, *, partition: str | None = None
    ) -> list[Any]:
        self._service._fault("queue")
        if partition is not None and not 0 < len(partition.encode()) <= 64:
            raise exception.InvalidError("Queue partition key must be between 1 and 64 bytes.")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            folder = self._service.folder / "queues" / self._name / (partition or "")
            found = sorted(folder.glob("[0-9]*.json"))[:n_values]
            values = [json.loads(path.read_text()) for path in found]
            for path in found:
                path.unlink()
            if values or not block:
                return values
            if deadline is not None and time.monotonic() >= deadline:
                raise queue.Empty
            time.sleep(_LOOK_SECONDS)
