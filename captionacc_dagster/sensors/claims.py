"""How sensors claim work in the catalogue.

A claim hands a row to one tick. When no run begins it in time (the tick died, the object was not
there yet) the row is handed out again, as the same attempt and so under the same run key, which
Dagster takes only once: a run that merely waits in its queue is not made twice.
"""

#: Rows a tick; each costs the daemon one indexed look-up and one run launch.
BATCH = 50
#: How long a claim lasts.
CLAIM_SECONDS = 900
#: A row that was handed out so often and never begun (for a day) ends in an error.
MAX_CLAIMS = 96
