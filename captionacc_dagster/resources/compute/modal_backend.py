"""Single calls on Modal, durable: paid once, found again after a crash, cancelled with their run.

A row of the catalogue (``compute_calls``) is written before Modal is asked, and holds Modal's id of
the call before it is waited for. Whoever asks for the same later (a retry, a run started again, a
process after a crash) finds the row by the request's hash and waits for the same call, or takes the
result that is stored in it.

One gap is left: a process that dies after Modal took the call and before its id is stored. The next
attempt looks for the id in the call's progress, where the container writes it first; when the
container has not begun yet, it starts another call, and cancels the first as soon as that one shows
up. A call is thus never waited for twice, and what the lost one costs is a container's start.
"""

import importlib
import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from captionacc_dagster.logs import about
from captionacc_dagster.resources.catalog import (
    Catalog,
    CatalogUnavailableError,
    ComputeCallRow,
    WrongStateError,
)
from captionacc_dagster.resources.compute.calls import ComputeCall
from captionacc_dagster.resources.compute.modal_errors import UNANSWERED, row_of
from captionacc_dagster.resources.compute.modal_progress import ProgressReader, step_of
from captionacc_dagster.resources.compute.modal_wire import incoming, outgoing, request_hash
from modal_gpu.contracts import Progress, no_progress
from modal_gpu.deployment.settings import CAPTION_OCR, TIMEOUT_SETTINGS
from modal_gpu.error_table import Meaning, Row
from modal_gpu.errors import (
    CaptionAccError,
    ConfigurationError,
    RemoteCallError,
    RemoteCancelledError,
    RemoteInterruptedError,
    RemoteTimeoutError,
    RemoteUnavailableError,
)

_log = logging.getLogger(__name__)

#: Stage of the progress until the container's first word.
STARTING = "starting"
#: How long an interrupted attempt waits for a call that is just being started, to cancel it.
_START_SECONDS = 30
#: A result is not there yet when ``get`` waited for it; an error of this name at once is the function's.
_QUICK_TIMEOUTS = 5


@dataclass(frozen=True)
class ModalCallSettings:
    """How calls are made and waited for. Times in seconds."""

    app_name: str = "captionacc-processing"
    #: ``None``: the environment of the token's profile.
    environment: str | None = None
    queue: str = "captionacc-progress"
    poll_seconds: float = 2.0
    #: Without an answer from Modal for so long, the attempt ends; the call goes on.
    unreachable_seconds: float = 300.0
    #: Longest wait for one call, its time in Modal's queue included; then it is cancelled.
    wait_seconds: float = 14_400.0
    #: How often the row is looked at, where somebody may have cancelled the call.
    row_seconds: float = 30.0
    #: For so long an attempt that wrote a row is believed to be starting its call.
    spawn_grace_seconds: float = 30.0
    #: Results and calls older than this are not taken up again.
    life_seconds: float = 86_400.0


@dataclass(frozen=True)
class CallReport:
    """What became of one call, for a run's metadata and for its cost.

    ``seconds``, ``cold_start_seconds`` and ``gpu`` are the function's own figures, ``None`` when it could
    not give them. ``first_taken`` is true for one attempt only, so that a cost is counted once.
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


def dashboard_url(call_id: str) -> str:
    """Where people look at a call: its logs, its container, its result."""
    # What FunctionCall.get_dashboard_url gives, without asking the server.
    return f"https://modal.com/id/{call_id}"


class ModalBackend:
    """Runs single calls on the deployed app, several at once from different threads.

    ``client`` has the surface of the module ``modal``; that one is imported at the first call when none
    is given. ``log`` gets a line at each start, re-attachment and cancellation.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: ModalCallSettings,
        run_id: str,
        *,
        log: Callable[[str], None] = _log.info,
        client: Any = None,
    ) -> None:
        self.catalog, self.settings, self.run_id = catalog, settings, run_id
        self.log = log
        self._client = client
        #: Cleared while Modal does not answer.
        self.is_reached = threading.Event()
        self.is_reached.set()
        self._guard = threading.Lock()
        self._reports: list[CallReport] = []

    @property
    def client(self) -> Any:
        """The module ``modal``. Raises :class:`ConfigurationError` when it is not installed."""
        with self._guard:
            if self._client is None:
                try:
                    self._client = importlib.import_module("modal")
                except ImportError:
                    raise ConfigurationError(
                        "MODAL_ENABLED=true needs Modal's client, which is not installed: pip install modal"
                    ) from None
            return self._client

    def call(self, call: ComputeCall, progress: Progress = no_progress) -> Any:
        """Block until the call is done; its result as wire data.

        ``progress`` is called at least once a poll. An exception that it raises, and any interruption,
        cancels the call, unless another attempt waits for it by now. Raises the function's own error
        (:mod:`modal_gpu.errors`), a :class:`~modal_gpu.errors.RemoteCallError` of what went wrong on the
        way, a ``ConfigurationError``, or a ``CatalogError``. After ``RemoteUnavailableError`` and
        ``CatalogUnavailableError`` the call goes on, and the next attempt finds it.
        """
        digest = request_hash(call)
        attempt = _Attempt(self, call, digest, progress)
        try:
            return attempt.run()
        except RemoteInterruptedError as error:
            if not attempt.attached:
                raise
            # What an earlier attempt left is gone: nothing is lost by starting anew at once.
            self.log(f"{error}: starting it anew")
            return _Attempt(self, call, digest, progress).run()

    def take_reports(self) -> list[CallReport]:
        """What became of the calls since the last time this was asked."""
        with self._guard:
            reports, self._reports = self._reports, []
        return reports

    def add_report(self, report: CallReport) -> None:
        with self._guard:
            self._reports.append(report)

    # -- for upkeep, outside of runs ---------------------------------------------------------

    def cancel_abandoned(
        self, is_alive: Callable[[str], bool], *, older_than_seconds: float = 600, limit: int = 100
    ) -> list[ComputeCallRow]:
        """Cancel open calls whose run is dead, and deliver cancellations that did not arrive; gives both.

        ``is_alive(run_id)`` is also true for a run that is about to be started again.
        """
        before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        rows = self.catalog.undelivered_compute_cancellations(limit)
        for row in self.catalog.list_compute_calls(open_only=True, created_before=before, limit=limit):
            if row.backend == "modal" and not is_alive(row.run_id):
                rows.append(self.catalog.cancel_compute_call(row.id, message="its run has ended"))
        return [self.deliver_cancellation(row) for row in rows if row.status == "cancelled"]

    def deliver_cancellation(self, row: ComputeCallRow) -> ComputeCallRow:
        """Tell Modal of a cancelled row and note that; on a failure it stays to be delivered."""
        if row.call_id is None:
            return row
        if not self.cancel_on_modal(row.call_id):
            return row
        try:
            return self.catalog.confirm_compute_call_cancelled(row.id)
        except CaptionAccError as error:
            _log.warning("the cancellation of %s is not noted: %s", row.call_id, error)
            return row

    def cancel_on_modal(self, call_id: str) -> bool:
        """Stop a call; whether Modal took it. A call that is not there any more is stopped."""
        try:
            self.client.FunctionCall.from_id(call_id).cancel()
        except self.client.exception.NotFoundError:
            return True
        except Exception as error:
            self.log(
                f"could not cancel call {call_id} ({type(error).__name__}: {error}): it may run on until its "
                f"time-out; upkeep tries again, or cancel it at {dashboard_url(call_id)}"
            )
            return False
        self.log(f"cancelled call {call_id}, {dashboard_url(call_id)}")
        return True


class _Attempt:
    """One attempt at one call, by one waiter."""

    def __init__(self, backend: ModalBackend, call: ComputeCall, digest: str, progress: Progress) -> None:
        self.backend, self.call, self.digest, self.progress = backend, call, digest, progress
        self.catalog, self.settings = backend.catalog, backend.settings
        self.waiter = str(uuid.uuid4())
        #: Whether an earlier attempt started the call.
        self.attached = False
        self.row: ComputeCallRow
        self._step = (STARTING, 0, 1)
        self._started_id: str | None = None
        self._strays: set[str] = set()
        self._pause = threading.Event()

    def run(self) -> Any:
        client = self.backend.client  # nothing is written when it is not installed
        self.row = self._open()
        self._reader = ProgressReader(client, self.settings.queue, self.settings.environment, self.row.id)
        if self.row.status == "succeeded":
            self.attached = True
            self.backend.log(f"{self._named()} was done already: its stored result is taken")
            return self._taken(first=False)
        try:
            if self.row.call_id is None:
                self._start()
            else:
                self._attach()
            with about(call=self.row.call_id):
                return self._wait()
        except CaptionAccError:
            raise  # the row tells how the call ended, or that it goes on
        except BaseException as error:
            self._cancel(error)
            raise

    # -- beginning ---------------------------------------------------------------------------

    def _open(self) -> ComputeCallRow:
        version = self.call.request.get("version")
        while True:
            row = self.catalog.open_compute_call(
                self.call.video_id,
                self.backend.run_id,
                self.call.function,
                self.digest,
                self.waiter,
                cropped_frames_version=version if isinstance(version, int) else None,
                spawn_grace_seconds=self.settings.spawn_grace_seconds,
                life_seconds=self.settings.life_seconds,
            )
            if row.waiter == self.waiter or row.status != "pending":
                return row
            # Another attempt is just starting it.
            self.progress(*self._step)
            self._pause.wait(self.settings.poll_seconds)

    def _attach(self) -> None:
        self.attached = True
        self.backend.log(f"{self._named()} was started by an earlier attempt: waiting for it")

    def _start(self) -> None:
        if self.row.attempts > 1 and (call_id := self._announced()):
            self.row = self.catalog.assign_compute_call(self.row.id, self.waiter, call_id)
            self._attach()
            return
        # In a thread of its own: an interruption that comes meanwhile must not lose what was started.
        pool = ThreadPoolExecutor(1, thread_name_prefix="modal-start")
        future = pool.submit(self._spawn)
        try:
            self.row = future.result()
        except CaptionAccError:
            raise
        except BaseException:
            wait([future], _START_SECONDS)
            if future.done() and future.exception() is None:
                self.row = future.result()
            raise
        finally:
            pool.shutdown(wait=False)
        self.backend.log(f"{self._named()} started")

    def _announced(self) -> str | None:
        """The call that a container, started by an attempt that died, says it works on."""
        for message in self._reader.read():
            if isinstance(call_id := message.get("call_id"), str):
                return call_id
        return None

    def _spawn(self) -> ComputeCallRow:
        modal = self.backend.client
        envelope = outgoing(self.call, self.settings.queue, self.row.id)
        try:
            function = modal.Function.from_name(
                self.settings.app_name, self.call.function, environment_name=self.settings.environment
            )
            self._started_id = function.spawn(envelope).object_id
        except Exception as error:
            raise self._not_started(error) from error
        try:
            return self.catalog.assign_compute_call(self.row.id, self.waiter, self._started_id)
        except WrongStateError:
            self.backend.cancel_on_modal(self._started_id)
            if self.catalog.get_compute_call(self.row.id).status == "cancelled":
                raise self._error(RemoteCancelledError, "was cancelled before it began") from None
            raise self._error(RemoteInterruptedError, "is started by another attempt") from None
        except CaptionAccError:
            # Nobody would find it.
            self.backend.cancel_on_modal(self._started_id)
            raise

    def _not_started(self, error: Exception) -> CaptionAccError:
        row = row_of(error, starting=True)
        if row.meaning in UNANSWERED:
            # It may have been taken nevertheless: the row stays, and the next attempt looks for it.
            return self._error(
                RemoteUnavailableError, f"could not be started: Modal is not reached ({_said(error)})"
            )
        if row.meaning.is_operators:
            return self._failed(ConfigurationError(self._configuration(error, row)))
        kind = RemoteInterruptedError if row.meaning is Meaning.LOST else RemoteCallError
        return self._failed(self._error(kind, f"could not be started: {_said(error)}"))

    # -- waiting -----------------------------------------------------------------------------

    def _wait(self) -> Any:
        handle = self.backend.client.FunctionCall.from_id(self.row.call_id)
        begun = answered = looked = time.monotonic()
        quick = 0
        # A quick container may have said more by now: whoever listens hears the beginning all the same.
        self._pass_on(self._step)
        while True:
            self._tell()
            asked = time.monotonic()
            try:
                answer = handle.get(timeout=self.settings.poll_seconds)
            except TimeoutError as error:
                answered = time.monotonic()
                self.backend.is_reached.set()
                quick = quick + 1 if answered - asked < self.settings.poll_seconds / 2 else 0
                if quick >= _QUICK_TIMEOUTS:
                    raise self._failed(self._error(RemoteCallError, f"failed: {_said(error)}")) from error
            except Exception as error:
                if row_of(error, starting=False).meaning not in UNANSWERED:
                    raise self._ended(error) from error
                silent = time.monotonic() - answered
                if silent >= self.settings.unreachable_seconds:
                    self.backend.is_reached.clear()
                    raise self._error(
                        RemoteUnavailableError,
                        f"goes on, but Modal is not reached since {silent:.0f} s ({_said(error)})",
                    ) from error
                self._pause.wait(self.settings.poll_seconds)
            else:
                self._tell()
                return self._answered(answer)
            now = time.monotonic()
            if now - begun >= self.settings.wait_seconds:
                error = self._error(
                    RemoteTimeoutError,
                    f"was not done within {self.settings.wait_seconds:.0f} s, queueing included, so it was "
                    "cancelled. It is not repeated by itself: look at the app's queue, or raise "
                    "MODAL_WAIT_SECONDS, then `captionacc retry`",
                )
                self._cancel(error)
                raise error
            if now - looked >= self.settings.row_seconds:
                looked = now
                if self._somebody_took_it():
                    return self._taken(first=False)

    def _tell(self) -> None:
        """Pass the progress on; the last step again when there is none, so that a listener can stop it."""
        steps = []
        for message in self._reader.read():
            if self._is_stray(message.get("call_id")):
                continue
            if step := step_of(message):
                steps.append(step)
        if steps and self._step == (STARTING, 0, 1):
            steps.insert(0, (STARTING, 1, 1))
        self._pass_on(*steps or [self._step])

    def _pass_on(self, *steps: tuple[str, int, int]) -> None:
        """Tell the listener; one that stops the call has it cancelled."""
        try:
            for step in steps:
                self._step = step
                self.progress(*step)
        except CaptionAccError as error:
            self._cancel(error)
            raise

    def _is_stray(self, call_id: object) -> bool:
        """Whether a message is from a call that an attempt started and died; such a one is cancelled."""
        if not isinstance(call_id, str) or call_id == self.row.call_id:
            return False
        if call_id not in self._strays:
            self._strays.add(call_id)
            self.backend.cancel_on_modal(call_id)
        return True

    def _somebody_took_it(self) -> bool:
        """Look at the row. Raises when somebody ended the call; true when another attempt has its result."""
        try:
            row = self.catalog.get_compute_call(self.row.id)
        except CatalogUnavailableError:
            return False
        if row.status == "cancelled":
            raise self._was_cancelled(row)
        if row.status == "failed":
            raise self._error(RemoteInterruptedError, f"was given up: {_message(row)}")
        if row.status == "succeeded":
            self.row = row
            return True
        return False

    # -- ending ------------------------------------------------------------------------------

    def _answered(self, answer: Any) -> Any:
        try:
            envelope = incoming(answer)
        except CaptionAccError as error:
            raise self._failed(error) from None
        if envelope.error is not None:
            self.backend.log(f"{self._named()} failed: {envelope.error}")
            raise self._failed(envelope.error, envelope.usage)
        try:
            self.row = self.catalog.finish_compute_call(
                self.row.id, self.waiter, {"value": envelope.result}, envelope.usage
            )
        except WrongStateError:
            row = self.catalog.get_compute_call(self.row.id)
            if row.status == "cancelled":
                raise self._was_cancelled(row) from None
            raise self._error(RemoteInterruptedError, f"was given up: {_message(row)}") from None
        return self._taken(first=self.row.finished_by == self.waiter)

    def _taken(self, *, first: bool) -> Any:
        self._report("succeeded", self.row.usage, first)
        return (self.row.result or {}).get("value")

    def _ended(self, error: Exception) -> CaptionAccError:
        """The error for a call that ended without an answer, written to its row."""
        row = row_of(error, starting=False)
        if row.meaning.is_operators:
            # The call itself goes on; the next attempt finds it.
            return ConfigurationError(self._configuration(error, row))
        if row.meaning is Meaning.TIME_OUT:
            return self._failed(self._error(RemoteTimeoutError, _time_out(self.call.function)))
        if row.meaning is Meaning.LOST:
            lost = f"is lost ({_said(error)}); a retry starts a new one"
            return self._failed(self._error(RemoteInterruptedError, lost))
        if row.meaning is Meaning.STOPPED:
            row = self.catalog.get_compute_call(self.row.id)
            if row.status == "cancelled":
                return self._was_cancelled(row)
            if self.attached:
                return self._failed(self._error(RemoteInterruptedError, f"was stopped ({_said(error)})"))
            reason = (
                f"was stopped on Modal ({_said(error)}): somebody cancelled it there, or its container died; "
                "look at its logs before a retry"
            )
            return self._failed(self._error(RemoteCallError, reason))
        return self._failed(self._error(RemoteCallError, f"failed: {_said(error)}; a retry would as well"))

    def _failed(self, error: CaptionAccError, usage: dict[str, Any] | None = None) -> CaptionAccError:
        self.row = self.catalog.fail_compute_call(
            self.row.id, self.waiter, str(error), type(error).__name__, usage
        )
        self._report("failed", usage, self.row.status == "failed" and self.row.waiter == self.waiter)
        return error

    def _was_cancelled(self, row: ComputeCallRow) -> RemoteCancelledError:
        return self._error(RemoteCancelledError, f"was cancelled ({_message(row)}); retry the video to go on")

    def _cancel(self, reason: BaseException) -> None:
        """Nobody wants the result any more, unless another attempt waits for the call by now.

        When Modal or the catalogue is not reached, calls beside the one that found out are ended by an
        ordinary exception. They could not be cancelled, and the next attempt wants them.
        """
        is_sibling = isinstance(reason, Exception) and not isinstance(reason, CaptionAccError)
        if is_sibling and not self.backend.is_reached.is_set():
            self.backend.log(f"{self._named()} goes on for the next attempt: Modal is not reached")
            return
        message = str(reason) or type(reason).__name__
        try:
            row = self.catalog.cancel_compute_call(self.row.id, self.waiter, message)
        except CaptionAccError as error:
            if is_sibling:
                self.backend.log(f"{self._named()} goes on for the next attempt: {error}")
                return
            # A person asked for it, and a running GPU costs: cancel it without the catalogue's word.
            self.backend.log(f"the cancellation of {self._named()} is not in the catalogue: {error}")
            if call_id := self.row.call_id or self._started_id:
                self.backend.cancel_on_modal(call_id)
            return
        if row.is_open:
            self.backend.log(f"{self._named()} goes on: run {row.run_id} waits for it")
        elif row.status == "cancelled":
            if row.call_id is None and self._started_id is not None:
                self.backend.cancel_on_modal(self._started_id)
            else:
                self.backend.deliver_cancellation(row)

    def _report(self, outcome: Literal["succeeded", "failed"], usage: dict[str, Any] | None, first: bool):
        used = usage or {}
        call_id = self.row.call_id
        self.backend.add_report(
            CallReport(
                compute_call_id=self.row.id,
                function=self.call.function,
                call_id=call_id,
                url=dashboard_url(call_id) if call_id else None,
                outcome=outcome,
                attached=self.attached,
                first_taken=first,
                gpu=used.get("gpu"),
                seconds=used.get("seconds"),
                cold_start_seconds=used.get("cold_start_seconds"),
            )
        )

    def _named(self) -> str:
        call_id = self.row.call_id or self._started_id
        where = f" (call {call_id}, {dashboard_url(call_id)})" if call_id else ""
        return f"{self.call.function} of video {self.call.video_id}{where}"

    def _error(self, kind: type[RemoteCallError], what: str) -> Any:
        return kind(f"{self._named()} {what}")

    def _configuration(self, error: Exception, row: Row) -> str:
        app, environment = self.settings.app_name, self.settings.environment
        there = f" in environment {environment}" if environment else ""
        if row.sign == "NotFoundError":
            option = f" --env {environment}" if environment else ""
            return (
                f"{self.call.function} of Modal app {app} is not deployed{there} ({_said(error)}): deploy it "
                f"there: modal deploy{option} modal_gpu/app.py"
            )
        return f"Modal refuses this installation{there} ({_said(error)}): {row.advice}"


def _time_out(function: str) -> str:
    """What happened, and what to do, for a function's own time-out."""
    parts = "" if function == CAPTION_OCR else "CAPTIONACC_SEGMENT_FRAMES smaller and "
    return (
        "ran longer than the function may. It is not repeated by itself, since as long again would cost as "
        f"much and end the same way: raise {TIMEOUT_SETTINGS[function]} and deploy, or give a call less work "
        f"({parts}CAPTIONACC_MAX_PARALLEL above 1), then `captionacc retry`"
    )


def _said(error: BaseException) -> str:
    """An error in one line of bounded length, with its class where its words do not say what it is."""
    words = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _message(row: ComputeCallRow) -> str:
    return str((row.error_details or {}).get("message", "")) or "no reason given"
