"""The changes that the platform makes to Dagster in a process that runs its code."""

from collections.abc import Callable, Sequence

from captionacc_dagster.dagster_internals.forked_runs import fork_runs
from captionacc_dagster.dagster_internals.lean_events import lean_events
from captionacc_dagster.dagster_internals.quiet_failures import quiet_failures


def adapt_dagster(at_run_start: Callable[[], object], preload: Sequence[str] = ()) -> None:
    """Let this process fork its runs, if it is a code server, and report failures once. Safe to repeat.

    ``at_run_start``: a function of a module, which each forked run calls first. ``preload``: modules to
    import before runs are forked.
    """
    fork_runs(at_run_start, preload)
    quiet_failures()
    lean_events()
