"""Groups of run statuses, as Dagster's own run queue and monitoring use them.

Taken from Dagster, so that a status that a later release adds is in the right group. Dagster exports the
statuses but not the groups. If it moves them, the import below fails at once.
"""

from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES, NOT_FINISHED_STATUSES

__all__ = ["IN_PROGRESS_RUN_STATUSES", "NOT_FINISHED_STATUSES"]
