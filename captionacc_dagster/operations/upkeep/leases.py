"""Leases that expired long ago without being released: their holder died."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from captionacc_dagster.constants import UPKEEP_BATCH
from captionacc_dagster.operations.upkeep.findings import Finding, Workplace


def expired_leases(work: Workplace) -> Iterator[Finding]:
    """Clear expired leases."""
    hours = work.policy.lease_hours
    before = datetime.now(UTC) - timedelta(hours=hours)
    expired = [lock for lock in work.catalog.list_locks(include_expired=True) if lock.expires_at < before]
    cleared = work.catalog.clear_expired_locks(older_than_seconds=hours * 3600) if work.apply else 0
    for number, lock in enumerate(expired[:UPKEEP_BATCH]):
        detail = (
            f"{lock.database_name}.db, held by {lock.owner} until {lock.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        yield Finding("expired lease", lock.video_id, detail, done=number < cleared)
