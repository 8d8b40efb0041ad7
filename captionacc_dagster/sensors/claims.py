"""How sensors claim work in the catalogue.

A claim hands a row to one tick, and is the sensor's cursor: an index holds just the rows that nobody
asked for, so a tick costs what is new, and a tick that dies loses nothing. When no run begins a row in
time (the tick died, the object was not there yet) it is handed out again, as the same attempt and so
under the same run key, which Dagster takes only once: a run that merely waits in its queue is not made
twice.

Tenants are handed out in turn, and only so many of each wait in Dagster's queue.
"""

from typing import TypedDict

from captionacc_dagster.settings import get_settings

#: Rows a tick; each costs the daemon one indexed look-up and one run launch.
BATCH = 50
#: How long a claim lasts.
CLAIM_SECONDS = 900
#: A row that was handed out so often and never begun (for a day) ends in an error.
MAX_CLAIMS = 96


class ClaimLimits(TypedDict):
    """Arguments of the catalogue's claims."""

    restart_after_seconds: float
    max_unstarted: int
    tenant_limit: int


def claim_limits() -> ClaimLimits:
    """The limits of every sensor's claim."""
    return ClaimLimits(
        restart_after_seconds=CLAIM_SECONDS,
        max_unstarted=MAX_CLAIMS,
        tenant_limit=get_settings().tenant_queue,
    )
