"""One attempt at one call on Modal: starts it or finds it again, waits, and records how it ended.

A row of the catalogue (``compute_calls``) is written before Modal is asked, and holds Modal's id of
the call before it is waited for. A later attempt at the same work (a retry, a run started again, a
process after a crash) finds the row by the request's hash and waits for the same call, or takes the
result that is stored in it.

One gap remains: a process that dies after Modal accepted the call and before its id is stored. The next
attempt looks for the id in the call's progress, where the container writes it first. If the
container has not begun yet, the attempt starts another call, and cancels the first as soon as that one
reports progress. No call is thus waited for twice, and the lost one costs a container's start.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from captionacc_dagster.logs import about
from captionacc_dagster.resources.catalog import (
    Catalog,
    ComputeCallRow,
    WrongStateError,
)
from captionacc_dagster.resources.compute.calls import CallReport, ComputeCall
from captionacc_dagster.resources.compute.modal_client import ModalClient
from captionacc_dagster.resources.compute.modal_messages import (
    misconfigured,
    one_line,
    waited_too_long,
)
from captionacc_dagster.resources.compute.modal_progress import step_of
from captionacc_dagster.resources.compute.modal_record import CallRecord
from captionacc_dagster.resources.compute.modal_wire import outgoing
from modal_gpu.client_errors import UNANSWERED, row_of
from modal_gpu.contracts import Progress
from modal_gpu.error_table import Meaning
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

#: Stage of the progress until the container's first message.
STARTING = "starting"
#: How long an interrupted attempt waits for a call that is being started, to cancel it.
_START_SECONDS = 30
#: ``get`` raises TimeoutError when a result is not ready after the poll; raised sooner, so many times in a
#: row, the error is the function's own.
_QUICK_TIMEOUTS = 5


class Attempt:
    """One attempt at one call, by one waiter."""

    def __init__(
        self,
        catalog: Catalog,
        client: ModalClient,
        run_id: str,
        call: ComputeCall,
        progress: Progress,
        log: Callable[[str], None],
        add_report: Callable[[CallReport], None],
    ) -> None:
        self.catalog, self.client, self.settings = catalog, client, client.settings
        self.call, self.progress, self._log = call, progress, log
        self.record = CallRecord(catalog, client.settings, run_id, call, log, add_report)
        self._step = (STARTING, 0, 1)
        self._strays: set[str] = set()

    def run(self) -> Any:
        """Return the call's result as wire data; raise as :meth:`ModalBackend.call` does."""
        _ = self.client.module  # raises before anything is written when Modal is not installed
        while not self.record.open():
            self.progress(*self._step)
            time.sleep(self.settings.poll_seconds)
        row = self.record.row
        self._reader = self.client.progress(row.id)
        if row.status == "succeeded":
            self.record.attached = True
            self._log(f"{self.record.name} was done already: its stored result is taken")
            return self.record.take_result(first=False)
        try:
            call_id = self._start() if row.call_id is None else self._attach(row.call_id)
            with about(call=call_id):
                return self._wait(call_id)
        except CaptionAccError:
            raise  # the row says how the call ended, or that it goes on
        except BaseException as error:
            self._cancel(error)
            raise

    # -- beginning ---------------------------------------------------------------------------

    def _attach(self, call_id: str) -> str:
        self.record.attached = True
        self._log(f"{self.record.name} was started by an earlier attempt: waiting for it")
        return call_id

    def _start(self) -> str:
        """Start the call, or find the one that an attempt that died has started; return Modal's id of it."""
        if self.record.row.attempts > 1 and (announced := self._announced()):
            self.record.assign(announced)
            return self._attach(announced)
        # In a thread of its own: an interruption during the start must not lose what was started.
        pool = ThreadPoolExecutor(1, thread_name_prefix="modal-start")
        future = pool.submit(self._spawn)
        try:
            call_id = future.result()
        except CaptionAccError:
            raise
        except BaseException:
            wait([future], _START_SECONDS)
            raise
        finally:
            pool.shutdown(wait=False)
        self._log(f"{self.record.name} started")
        return call_id

    def _announced(self) -> str | None:
        """Return the id that the container of an attempt that died has reported, if it has."""
        for message in self._reader.read():
            if isinstance(call_id := message.get("call_id"), str):
                return call_id
        return None

    def _spawn(self) -> str:
        try:
            call_id = self.client.spawn(self.call.function, outgoing(self.call, self.record.row.id))
        except Exception as error:
            raise self._not_started(error) from error
        self.record.started_id = call_id
        try:
            self.record.assign(call_id)
        except WrongStateError:
            self.client.cancel(call_id)
            if self.catalog.get_compute_call(self.record.row.id).status == "cancelled":
                raise self.record.error(RemoteCancelledError, "was cancelled before it began") from None
            raise self.record.error(RemoteInterruptedError, "is started by another attempt") from None
        except CaptionAccError:
            # No later attempt would find it.
            self.client.cancel(call_id)
            raise
        return call_id

    def _not_started(self, error: Exception) -> CaptionAccError:
        known = row_of(error, starting=True)
        if known.meaning in UNANSWERED:
            # Modal may have accepted it nevertheless: the row stays, and the next attempt looks for the call.
            return self.record.error(
                RemoteUnavailableError, f"could not be started: Modal cannot be reached ({one_line(error)})"
            )
        if known.meaning.is_operators:
            return self.record.failed(
                ConfigurationError(misconfigured(self.settings, self.call.function, error, known))
            )
        kind = RemoteInterruptedError if known.meaning is Meaning.LOST else RemoteCallError
        return self.record.failed(self.record.error(kind, f"could not be started: {one_line(error)}"))

    # -- waiting -----------------------------------------------------------------------------

    def _wait(self, call_id: str) -> Any:
        handle = self.client.handle(call_id)
        begun = answered = looked = time.monotonic()
        quick = 0
        # A quick container may have reported more by now; the listener gets the first step all the same.
        self._pass_on(self._step)
        while True:
            self._report_progress()
            asked = time.monotonic()
            try:
                answer = handle.get(timeout=self.settings.poll_seconds)
            except TimeoutError as error:
                answered = time.monotonic()
                self.client.is_reached.set()
                quick = quick + 1 if answered - asked < self.settings.poll_seconds / 2 else 0
                if quick >= _QUICK_TIMEOUTS:
                    raise self.record.failed(
                        self.record.error(RemoteCallError, f"failed: {one_line(error)}")
                    ) from error
            except Exception as error:
                self._raise_unless_unanswered(error, time.monotonic() - answered)
                time.sleep(self.settings.poll_seconds)
            else:
                self._report_progress()
                return self.record.accept(answer)
            now = time.monotonic()
            if now - begun >= self.settings.wait_seconds:
                late = self.record.error(RemoteTimeoutError, waited_too_long(self.settings.wait_seconds))
                self._cancel(late)
                raise late
            if now - looked >= self.settings.row_seconds:
                looked = now
                if self.record.is_taken_by_another():
                    return self.record.take_result(first=False)

    def _raise_unless_unanswered(self, error: Exception, silent_seconds: float) -> None:
        """Raise for an error that ends the call, or once Modal has not answered for too long."""
        if row_of(error, starting=False).meaning not in UNANSWERED:
            raise self.record.ended(error) from error
        if silent_seconds >= self.settings.unreachable_seconds:
            self.client.is_reached.clear()
            raise self.record.error(
                RemoteUnavailableError,
                f"goes on, but Modal has not answered for {silent_seconds:.0f} s ({one_line(error)})",
            ) from error

    def _report_progress(self) -> None:
        """Pass new progress on, or the last step again, so that the listener can always stop the call."""
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
        """Call the listener with each step; cancel the call when the listener raises."""
        try:
            for step in steps:
                self._step = step
                self.progress(*step)
        except CaptionAccError as error:
            self._cancel(error)
            raise

    def _is_stray(self, call_id: object) -> bool:
        """Return whether a message is from a call that an earlier attempt lost; cancel that call."""
        if not isinstance(call_id, str) or call_id == self.record.row.call_id:
            return False
        if call_id not in self._strays:
            self._strays.add(call_id)
            self.client.cancel(call_id)
        return True

    # -- ending ------------------------------------------------------------------------------

    def _cancel(self, reason: BaseException) -> None:
        """Cancel the call, unless another attempt waits for it by now.

        When Modal or the catalogue cannot be reached, :func:`run_calls` ends the parallel calls by an
        ordinary exception. They are left running: they could not be cancelled, and the next attempt needs
        them.
        """
        is_parallel = isinstance(reason, Exception) and not isinstance(reason, CaptionAccError)
        if is_parallel and not self.client.is_reached.is_set():
            self._log(f"{self.record.name} goes on for the next attempt: Modal cannot be reached")
            return
        try:
            row = self.catalog.cancel_compute_call(
                self.record.row.id, self.record.waiter, str(reason) or type(reason).__name__
            )
        except CaptionAccError as error:
            if is_parallel:
                self._log(f"{self.record.name} goes on for the next attempt: {error}")
                return
            # A person asked for it, and a running GPU costs: cancel it though the catalogue cannot be asked.
            self._log(f"the cancellation of {self.record.name} is not in the catalogue: {error}")
            if call_id := self.record.call_id:
                self.client.cancel(call_id)
            return
        if row.is_open:
            self._log(f"{self.record.name} goes on: run {row.run_id} waits for it")
        elif row.status == "cancelled":
            if row.call_id is None and self.record.started_id is not None:
                self.client.cancel(self.record.started_id)
            else:
                deliver_cancellation(self.catalog, self.client, row)


def deliver_cancellation(catalog: Catalog, client: ModalClient, row: ComputeCallRow) -> ComputeCallRow:
    """Cancel on Modal a call whose row is cancelled, and record that; return the row as it is then.

    When Modal or the catalogue fails, the cancellation remains to be delivered by upkeep.
    """
    if row.call_id is None or not client.cancel(row.call_id):
        return row
    try:
        return catalog.confirm_compute_call_cancelled(row.id)
    except CaptionAccError as error:
        _log.warning("the cancellation of %s is not recorded: %s", row.call_id, error)
        return row
