"""The catalogue's locks of client databases: leases with an owner's token."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Literal

from captionacc_dagster.resources.catalog.calls import CatalogCalls, sql_function
from captionacc_dagster.resources.catalog.leases import Lease, hold_lease
from captionacc_dagster.resources.catalog.rows.record import utc
from captionacc_dagster.resources.catalog.rows.work import DatabaseName, LockInfo, LockToken


class LockCalls(CatalogCalls):
    """Locks. An expired lease is free for the next taker, and its holder's until then."""

    def take_lock(
        self,
        video_id: str,
        database_name: DatabaseName,
        owner: str,
        lease_seconds: float,
        *,
        lock_type: Literal["server", "client"] = "server",
    ) -> LockToken:
        """Take a free lock. Raises ``LockHeldError``, ``UnknownVideoError`` and ``VideoDeletedError``."""
        (row,) = self._call(
            "take_lock",
            video_id=video_id,
            database_name=database_name,
            owner=owner,
            lease_seconds=lease_seconds,
            lock_type=lock_type,
        )
        return LockToken(video_id.lower(), database_name, owner, str(row["token"]), utc(row["expires_at"]))

    def renew_lock(self, token: LockToken, lease_seconds: float) -> LockToken:
        """Extend a lease to ``lease_seconds`` from now. Raises ``LockLostError`` if another took it."""
        (row,) = self._call("renew_lock", token=token, lease_seconds=lease_seconds, repeatable=True)
        return replace(token, expires_at=utc(row["renew_lock"]))

    @sql_function()
    def release_lock(self, token: LockToken) -> bool:
        """Release a lock. Returns false if it was no longer the caller's."""

    @sql_function(repeatable=True)
    def list_locks(self, *, include_expired: bool = False) -> list[LockInfo]:
        """Return the locks that are held, and with ``include_expired`` those that nobody released."""

    @sql_function(repeatable=True)
    def clear_expired_locks(self, *, older_than_seconds: float = 3600) -> int:
        """Clear up to 1000 leases that expired so long ago. Returns how many there were."""

    @sql_function()
    def bump_database_version(self, token: LockToken) -> int:
        """Record that a new version of the file was published. Returns its number, from 1.

        Raises ``LockLostError`` if the lease has expired or another holder took the lock.
        """

    @sql_function()
    def record_caption_count(self, token: LockToken, caption_count: int) -> bool:
        """Record how many captions have text after an edit of captions.db, whose lock is held.

        Returns false if no run has read text yet. Raises ``LockLostError`` if the lease has expired.
        """

    def lease(
        self,
        video_id: str,
        database_name: DatabaseName,
        owner: str,
        seconds: float = 60,
        *,
        wait_seconds: float = 30,
    ) -> AbstractContextManager[Lease]:
        """Hold a lock while the block runs, renewing it. Raises ``LockHeldError`` after ``wait_seconds``."""
        return hold_lease(self, video_id, database_name, owner, seconds, wait_seconds)
