"""Locks that are held, and renewed, while a block runs."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from captionacc_dagster.resources.catalog.errors import (
    CatalogError,
    CatalogUnavailableError,
    LockHeldError,
    LockLostError,
)
from captionacc_dagster.resources.catalog.rows.work import DatabaseName, LockToken

_log = logging.getLogger(__name__)
_RENEWALS_A_LEASE = 3


class Locks(Protocol):
    """The calls of the catalogue that a lease needs."""

    def take_lock(
        self, video_id: str, database_name: DatabaseName, owner: str, lease_seconds: float
    ) -> LockToken: ...

    def renew_lock(self, token: LockToken, lease_seconds: float) -> LockToken: ...

    def release_lock(self, token: LockToken) -> bool: ...


class Lease:
    """A held lock and the thread that renews it at a third of its duration."""

    def __init__(self, catalog: Locks, token: LockToken, seconds: float, taken: float) -> None:
        self.token = token
        self._catalog = catalog
        self._seconds = seconds
        # By this clock, from before the call was sent: no later than the lease's end in the database.
        self._certain_until = taken + seconds
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{token.database_name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise :class:`LockLostError` unless the lock is certainly still held."""
        if self._lost.is_set() or time.monotonic() >= self._certain_until:
            raise LockLostError(
                f"the lock on {self.token.database_name}.db of video {self.token.video_id} ran out before "
                "the work was done; nothing more is written"
            )

    def close(self) -> None:
        """Stop renewing the lock, and release it."""
        self._stop.set()
        self._thread.join()
        try:
            self._catalog.release_lock(self.token)
        except CatalogError as error:
            # The lease expires; an error here would hide what the block raised.
            _log.warning("a lock was not released and will expire: %s", error)

    def _renew(self) -> None:
        pause = self._seconds / _RENEWALS_A_LEASE
        while not self._stop.wait(pause):
            asked = time.monotonic()
            try:
                self._catalog.renew_lock(self.token, self._seconds)
            except CatalogUnavailableError as error:
                _log.warning("a lock could not be renewed, trying again: %s", error)
                pause = min(1.0, self._seconds / (4 * _RENEWALS_A_LEASE))
            except Exception as error:
                _log.error("a lock is lost: %s", error)
                self._lost.set()
                return
            else:
                self._certain_until = asked + self._seconds
                pause = self._seconds / _RENEWALS_A_LEASE


@contextlib.contextmanager
def hold_lease(
    catalog: Locks,
    video_id: str,
    database_name: DatabaseName,
    owner: str,
    seconds: float,
    wait_seconds: float,
) -> Iterator[Lease]:
    """Take the lock, waiting for it with back-off, and release it when the block ends."""
    taken = time.monotonic()
    for attempt in Retrying(
        retry=retry_if_exception_type(LockHeldError),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        stop=stop_after_delay(wait_seconds),
        reraise=True,
    ):
        with attempt:
            taken = time.monotonic()
            token = catalog.take_lock(video_id, database_name, owner, seconds)
    lease = Lease(catalog, token, seconds, taken)
    try:
        yield lease
    finally:
        lease.close()
