"""The catalogue's durable calls of compute functions, to which later attempts re-attach."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from captionacc_dagster.resources.catalog.calls import CatalogCalls, is_id, sql_function
from captionacc_dagster.resources.catalog.errors import UnknownRequestError
from captionacc_dagster.resources.catalog.rows.work import ComputeCallRow
from captionacc_dagster.resources.catalog.transport import AnyOf, Condition, Where


class ComputeCalls(CatalogCalls):
    """Calls. A ``waiter`` is the UUID of one attempt, made by the caller. Raises ``UnknownRequestError``."""

    @sql_function(repeatable=True)
    def open_compute_call(
        self,
        video_id: str,
        run_id: str,
        function_name: str,
        request_hash: str,
        waiter: str,
        *,
        backend: Literal["local", "modal"] = "modal",
        cropped_frames_version: int | None = None,
        spawn_grace_seconds: float = 30,
        life_seconds: float = 86_400,
    ) -> ComputeCallRow:
        """Return the call of a request: the open one, one with a result that is not settled, or a new one.

        The attempt becomes the waiter of a call that was there. Only a pending call that was opened less than
        ``spawn_grace_seconds`` ago keeps its waiter, which is starting it: open it again later. Calls older
        than ``life_seconds`` are not reused. Raises ``WrongStateError`` if the run was cancelled, and
        ``UnknownVideoError`` and ``VideoDeletedError``.
        """

    @sql_function(repeatable=True, compute_call_id="id")
    def assign_compute_call(self, compute_call_id: str, waiter: str, call_id: str) -> ComputeCallRow:
        """Record that a pending call was started as the backend's ``call_id``.

        Raises ``WrongStateError`` if the call is another attempt's or has ended: cancel what was started.
        """

    @sql_function(repeatable=True, compute_call_id="id")
    def finish_compute_call(
        self,
        compute_call_id: str,
        waiter: str,
        result: Mapping[str, Any],
        usage: Mapping[str, Any] | None = None,
    ) -> ComputeCallRow:
        """Record the result of a running call. The first one counts; ``finished_by`` is its waiter.

        Raises ``WrongStateError`` for a call that is pending, failed or cancelled.
        """

    @sql_function(repeatable=True, compute_call_id="id")
    def fail_compute_call(
        self,
        compute_call_id: str,
        waiter: str,
        message: str,
        error_type: str = "",
        usage: Mapping[str, Any] | None = None,
    ) -> ComputeCallRow:
        """Record the error of an open call, if ``waiter`` is its waiter; else return the row unchanged."""

    @sql_function(repeatable=True, compute_call_id="id")
    def cancel_compute_call(
        self, compute_call_id: str, waiter: str | None = None, message: str = ""
    ) -> ComputeCallRow:
        """Cancel an open call, with a ``waiter`` only if it is its waiter; else return the row unchanged.

        Afterwards cancel it at the backend, and :meth:`confirm_compute_call_cancelled`.
        """

    @sql_function(repeatable=True, compute_call_id="id")
    def confirm_compute_call_cancelled(self, compute_call_id: str) -> ComputeCallRow:
        """Record that the backend has ended a call. Raises ``WrongStateError`` if it was not cancelled."""

    @sql_function(repeatable=True)
    def settle_compute_calls(self, video_id: str, run_id: str) -> int:
        """Record that the outputs of a run's calls are published. Returns how many calls there are.

        The same requests are new calls from then on.
        """

    def get_compute_call(self, compute_call_id: str) -> ComputeCallRow:
        """Return a call."""
        return self._by_id(
            ComputeCallRow, "compute_calls", compute_call_id, "compute call", UnknownRequestError
        )

    def list_compute_calls(
        self,
        *,
        video_id: str | None = None,
        run_id: str | None = None,
        open_only: bool = False,
        created_before: datetime | None = None,
        limit: int = 100,
    ) -> list[ComputeCallRow]:
        """Return calls, oldest first."""
        where: list[Condition] = []
        if video_id is not None:
            where.append(is_id("video_id", video_id))
        if run_id is not None:
            where.append(Where("run_id", "eq", run_id))
        if open_only:
            where.append(AnyOf((Where("status", "eq", "pending"), Where("status", "eq", "running"))))
        if created_before is not None:
            where.append(Where("created_at", "lt", created_before))
        return self._select(ComputeCallRow, "compute_calls", where, ["created_at", "id"], limit)

    def undelivered_compute_cancellations(self, limit: int = 100) -> list[ComputeCallRow]:
        """Return cancelled calls that the backend may still run, the oldest cancellation first."""
        where = [
            Where("status", "eq", "cancelled"),
            Where("call_id", "is_not", None),
            Where("cancel_delivered_at", "is", None),
        ]
        return self._select(ComputeCallRow, "compute_calls", where, ["finished_at", "id"], limit)
