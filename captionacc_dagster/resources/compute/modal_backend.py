"""Billed calls on Modal: paid once, found again after a crash, cancelled with their run."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from captionacc_dagster.constants import UPKEEP_BATCH
from captionacc_dagster.resources.catalog import Catalog, ComputeCallRow
from captionacc_dagster.resources.compute.calls import CallReport, ComputeCall
from captionacc_dagster.resources.compute.modal_attempt import Attempt, deliver_cancellation
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings, ModalClient
from modal_gpu.contracts import Progress, no_progress
from modal_gpu.errors import RemoteInterruptedError

_log = logging.getLogger(__name__)


class ModalBackend:
    """Runs single calls on the deployed app, several at once from different threads.

    ``modal`` replaces the module ``modal``, which is otherwise imported at the first call. ``log`` receives
    a line at each start, re-attachment and cancellation.
    """

    is_billed = True

    def __init__(
        self,
        catalog: Catalog,
        settings: ModalCallSettings,
        run_id: str,
        *,
        log: Callable[[str], None] = _log.info,
        modal: Any = None,
    ) -> None:
        self.catalog, self.settings, self.run_id = catalog, settings, run_id
        self.log = log
        self.client = ModalClient(settings, log, modal)
        self._guard = threading.Lock()
        self._reports: list[CallReport] = []

    def call(self, call: ComputeCall, progress: Progress = no_progress) -> Any:
        """Block until the call ends; return its result as wire data.

        ``progress`` is called at least once a poll. An exception that it raises, and any interruption,
        cancels the call, unless another attempt waits for it by then. Raises the function's own error
        (:mod:`modal_gpu.errors`), a :class:`~modal_gpu.errors.RemoteCallError` for a failure on the way,
        a ``ConfigurationError``, or a ``CatalogError``. After ``RemoteUnavailableError`` and
        ``CatalogUnavailableError`` the call goes on, and the next attempt finds it.
        """
        attempt = self._attempt(call, progress)
        try:
            return attempt.run()
        except RemoteInterruptedError as error:
            if not attempt.record.attached:
                raise
            # The call of an earlier attempt is lost: a new one can start at once.
            self.log(f"{error}: starting a new call")
            return self._attempt(call, progress).run()

    def _attempt(self, call: ComputeCall, progress: Progress) -> Attempt:
        return Attempt(self.catalog, self.client, self.run_id, call, progress, self.log, self._add_report)

    def take_reports(self) -> list[CallReport]:
        with self._guard:
            reports, self._reports = self._reports, []
        return reports

    def _add_report(self, report: CallReport) -> None:
        with self._guard:
            self._reports.append(report)

    def cancel_abandoned(
        self, is_alive: Callable[[str], bool], *, older_than_seconds: float = 600, limit: int = UPKEEP_BATCH
    ) -> list[ComputeCallRow]:
        """Cancel open calls whose run is dead, and deliver cancellations that did not arrive; return both.

        For upkeep, outside of runs. ``is_alive(run_id)`` is also true for a run that is about to be started
        again.
        """
        before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        rows = self.catalog.undelivered_compute_cancellations(limit)
        for row in self.catalog.list_compute_calls(open_only=True, created_before=before, limit=limit):
            if row.backend == "modal" and not is_alive(row.run_id):
                rows.append(self.catalog.cancel_compute_call(row.id, message="its run has ended"))
        return [
            deliver_cancellation(self.catalog, self.client, row) for row in rows if row.status == "cancelled"
        ]
