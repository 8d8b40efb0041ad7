"""Access to Modal's client: its settings, starting, waiting for and cancelling calls."""

import importlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from captionacc_dagster.resources.compute.modal_progress import ProgressReader
from modal_gpu.deployment.settings import PROGRESS_QUEUE
from modal_gpu.errors import ConfigurationError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModalCallSettings:
    """Settings for starting calls and waiting for them. Times in seconds."""

    app_name: str = "captionacc-processing"
    #: ``None``: the environment of the token's profile.
    environment: str | None = None
    poll_seconds: float = 2.0
    #: An attempt ends after so long without an answer from Modal; the call goes on.
    unreachable_seconds: float = 300.0
    #: Longest wait for one call, its time in Modal's queue included; it is cancelled then.
    wait_seconds: float = 14_400.0
    #: How often the catalogue's row is read, in which another process may have cancelled the call.
    row_seconds: float = 30.0
    #: How long an attempt that wrote a row is assumed to be starting its call.
    spawn_grace_seconds: float = 30.0
    #: Results and calls older than this are not reused.
    life_seconds: float = 86_400.0


def dashboard_url(call_id: str) -> str:
    """Return the address of a call's page, with its logs, container and result."""
    # FunctionCall.get_dashboard_url returns the same, after asking the server.
    return f"https://modal.com/id/{call_id}"


class ModalClient:
    """Modal's client library, imported at its first use.

    ``module`` replaces the module ``modal``: tests pass a stand-in with the same surface. ``log`` receives
    a line for each cancellation.
    """

    def __init__(
        self, settings: ModalCallSettings, log: Callable[[str], None] = _log.info, module: Any = None
    ) -> None:
        self.settings = settings
        self._log = log
        self._module = module
        self._guard = threading.Lock()
        #: Cleared while Modal does not answer.
        self.is_reached = threading.Event()
        self.is_reached.set()

    @property
    def module(self) -> Any:
        """The module ``modal``. Raises :class:`ConfigurationError` when it is not installed."""
        with self._guard:
            if self._module is None:
                try:
                    self._module = importlib.import_module("modal")
                except ImportError:
                    raise ConfigurationError(
                        "MODAL_ENABLED=true needs Modal's client, which is not installed: pip install modal"
                    ) from None
            return self._module

    def spawn(self, function: str, keywords: dict[str, Any]) -> str:
        """Start a call of a deployed function; return Modal's id of it. Raises what the client raises."""
        handle = self.module.Function.from_name(
            self.settings.app_name, function, environment_name=self.settings.environment
        )
        call_id: str = handle.spawn(**keywords).object_id
        return call_id

    def handle(self, call_id: str) -> Any:
        """Return Modal's ``FunctionCall`` of a call."""
        return self.module.FunctionCall.from_id(call_id)

    def progress(self, partition: str) -> ProgressReader:
        """Return a reader of the progress that a call writes to its partition of the queue."""
        return ProgressReader(self.module, PROGRESS_QUEUE, self.settings.environment, partition)

    def cancel(self, call_id: str) -> bool:
        """Stop a call; return whether it is stopped. A call that no longer exists counts as stopped."""
        try:
            self.handle(call_id).cancel()
        except self.module.exception.NotFoundError:
            return True
        except Exception as error:
            self._log(
                f"could not cancel call {call_id} ({type(error).__name__}: {error}): it may run on until its "
                f"time-out; upkeep tries again, or cancel it at {dashboard_url(call_id)}"
            )
            return False
        self._log(f"cancelled call {call_id}, {dashboard_url(call_id)}")
        return True
