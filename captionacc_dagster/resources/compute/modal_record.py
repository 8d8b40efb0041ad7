"""The catalogue's row of one call, as one attempt sees it: names the call and records how it ended."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from captionacc_dagster.resources.catalog import (
    Catalog,
    CatalogUnavailableError,
    ComputeCallRow,
    WrongStateError,
)
from captionacc_dagster.resources.compute.calls import CallReport, ComputeCall
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings, dashboard_url
from captionacc_dagster.resources.compute.modal_messages import misconfigured, one_line, recorded, timed_out
from captionacc_dagster.resources.compute.modal_wire import request_hash
from modal_gpu.answers import incoming
from modal_gpu.client_errors import row_of
from modal_gpu.error_table import Meaning
from modal_gpu.errors import (
    CaptionAccError,
    ConfigurationError,
    RemoteCallError,
    RemoteCancelledError,
    RemoteInterruptedError,
    RemoteTimeoutError,
)

_Error = TypeVar("_Error", bound=RemoteCallError)


class CallRecord:
    """One call's row. Methods that return an error leave it to the caller to raise it."""

    def __init__(
        self,
        catalog: Catalog,
        settings: ModalCallSettings,
        run_id: str,
        call: ComputeCall,
        log: Callable[[str], None],
        add_report: Callable[[CallReport], None],
    ) -> None:
        self.catalog, self.settings, self.run_id, self.call = catalog, settings, run_id, call
        self._log, self._add_report = log, add_report
        self.waiter = str(uuid.uuid4())
        #: Whether an earlier attempt started the call.
        self.attached = False
        #: Modal's id of the call that this attempt started.
        self.started_id: str | None = None
        self.row: ComputeCallRow

    def open(self) -> bool:
        """Write or find the row; return false while another attempt is starting the call."""
        version = self.call.request.get("version")
        self.row = self.catalog.open_compute_call(
            self.call.video_id,
            self.run_id,
            self.call.function,
            request_hash(self.call),
            self.waiter,
            cropped_frames_version=version if isinstance(version, int) else None,
            spawn_grace_seconds=self.settings.spawn_grace_seconds,
            life_seconds=self.settings.life_seconds,
        )
        return self.row.waiter == self.waiter or self.row.status != "pending"

    def assign(self, call_id: str) -> None:
        """Store Modal's id of the call. Raises :class:`WrongStateError` when another attempt has the row."""
        self.row = self.catalog.assign_compute_call(self.row.id, self.waiter, call_id)

    @property
    def call_id(self) -> str | None:
        """Modal's id of the call, also before the row has it."""
        return self.row.call_id or self.started_id

    @property
    def name(self) -> str:
        """The call in messages: its function, its video, and its page once it is started."""
        where = f" (call {self.call_id}, {dashboard_url(self.call_id)})" if self.call_id else ""
        return f"{self.call.function} of video {self.call.video_id}{where}"

    def error(self, kind: type[_Error], predicate: str) -> _Error:
        """Return an error that names the call and says what happened to it."""
        return kind(f"{self.name} {predicate}")

    def is_taken_by_another(self) -> bool:
        """Read the row; return whether another attempt has stored the result. Raise if the call was ended."""
        try:
            row = self.catalog.get_compute_call(self.row.id)
        except CatalogUnavailableError:
            return False
        if row.status == "cancelled":
            raise self.was_cancelled(row)
        if row.status == "failed":
            raise self.error(RemoteInterruptedError, f"was given up: {recorded(row)}")
        if row.status == "succeeded":
            self.row = row
            return True
        return False

    def accept(self, answer: Any) -> Any:
        """Store the function's answer in the row; return its result or raise its error."""
        try:
            received = incoming(answer)
        except CaptionAccError as error:
            raise self.failed(error) from None
        if received.error is not None:
            self._log(f"{self.name} failed: {received.error}")
            raise self.failed(received.error, received.usage)
        try:
            self.row = self.catalog.finish_compute_call(
                self.row.id, self.waiter, {"value": received.result}, received.usage
            )
        except WrongStateError:
            row = self.catalog.get_compute_call(self.row.id)
            if row.status == "cancelled":
                raise self.was_cancelled(row) from None
            raise self.error(RemoteInterruptedError, f"was given up: {recorded(row)}") from None
        return self.take_result(first=self.row.finished_by == self.waiter)

    def take_result(self, *, first: bool) -> Any:
        """Report the call and return its stored result. ``first``: no other attempt has taken it."""
        self._report("succeeded", self.row.usage, first)
        return (self.row.result or {}).get("value")

    def ended(self, error: Exception) -> CaptionAccError:
        """Return the error for a call that ended without an answer, and write it to the row."""
        known = row_of(error, starting=False)
        if known.meaning.is_operators:
            # The call itself goes on; the next attempt finds it.
            return ConfigurationError(misconfigured(self.settings, self.call.function, error, known))
        if known.meaning is Meaning.TIME_OUT:
            return self.failed(self.error(RemoteTimeoutError, timed_out(self.call.function)))
        if known.meaning is Meaning.LOST:
            lost = f"is lost ({one_line(error)}); a retry starts a new one"
            return self.failed(self.error(RemoteInterruptedError, lost))
        if known.meaning is Meaning.STOPPED:
            return self._stopped(error)
        return self.failed(self.error(RemoteCallError, f"failed: {one_line(error)}; a retry would as well"))

    def _stopped(self, error: Exception) -> CaptionAccError:
        row = self.catalog.get_compute_call(self.row.id)
        if row.status == "cancelled":
            return self.was_cancelled(row)
        if self.attached:
            return self.failed(self.error(RemoteInterruptedError, f"was stopped ({one_line(error)})"))
        reason = (
            f"was stopped on Modal ({one_line(error)}): somebody cancelled it there, or its container died; "
            "look at its logs before a retry"
        )
        return self.failed(self.error(RemoteCallError, reason))

    def failed(self, error: CaptionAccError, usage: Mapping[str, Any] | None = None) -> CaptionAccError:
        """Write the error to the row, report the call, and return the error."""
        self.row = self.catalog.fail_compute_call(
            self.row.id, self.waiter, str(error), type(error).__name__, dict(usage) if usage else None
        )
        self._report("failed", usage, self.row.status == "failed" and self.row.waiter == self.waiter)
        return error

    def was_cancelled(self, row: ComputeCallRow) -> RemoteCancelledError:
        """Return the error for a call that was cancelled by somebody else."""
        return self.error(RemoteCancelledError, f"was cancelled ({recorded(row)}); retry the video to go on")

    def _report(
        self, outcome: Literal["succeeded", "failed"], usage: Mapping[str, Any] | None, first: bool
    ) -> None:
        used = usage or {}
        call_id = self.row.call_id
        self._add_report(
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
