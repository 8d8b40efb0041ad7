"""The start of a run's process."""

import os

from captionacc_dagster.platform.orphans import RUN_SECONDS, end_without_daemon

#: Added to the niceness of a run's process (``man 2 nice``): it has minutes, a tick or a page has seconds.
RUN_NICENESS = 5


def begin_run() -> None:
    """Prepare a run's process: it yields to the platform's own processes, and watches the daemon's role."""
    # Without it, a daemon that shares two cores with four runs needs several times as long for a tick.
    os.nice(RUN_NICENESS)
    end_without_daemon(RUN_SECONDS)
