"""Dagster's own home: its configuration, its database and its pools' limits."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from captionacc_dagster.platform.homes import make_home, make_private
from captionacc_dagster.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

#: Runs of each pool that may work at once (dagster.yaml can only hold one default for all).
POOL_LIMITS = {"extract": 5, "crop_and_infer": 2, "caption_ocr": 10}

_DAGSTER_YAML = """\
# Written by `captionacc`; delete this line to keep your own changes.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    granularity: op
  runs:
    max_concurrent_runs: {max_concurrent_runs}
    # A tenant's videos leave a slot for the others'. By job: a run that waits for its pool counts too.
    tag_concurrency_limits:
      - key: captionacc/tenant-job
        limit: {tenant_runs}
        value:
          applyLimitPerUniqueValue: true
run_queue:
  dequeue_interval_seconds: 1
  # Launching a run waits until its process has loaded the code; one after another, cores would idle.
  dequeue_use_threads: true
  dequeue_num_workers: 4
  # A code server that restarts, or is too busy to answer, is no reason for a run to fail.
  max_user_code_failure_retries: 10
  user_code_failure_retry_delay: 30
sensors:
  use_threads: true
  num_workers: 4
run_monitoring:
  enabled: true
  poll_interval_seconds: 10
  start_timeout_seconds: 180
  cancel_timeout_seconds: 120
  max_runtime_seconds: 43200
  # A killed run leaves its pool's slot taken; without this for ever.
  free_slots_after_run_end_seconds: 10
# A killed run process is started again once; failed steps are the assets' own matter.
run_retries:
  enabled: true
  max_retries: 1
  retry_on_asset_or_op_failure: false
"""


def dagster_yaml(settings: Settings) -> str:
    """Configuration of the embedded platform's Dagster instance."""
    return _DAGSTER_YAML.format(max_concurrent_runs=settings.run_limit, tenant_runs=settings.tenant_run_limit)


def prepare_dagster_home(settings: Settings) -> Path:
    """Dagster's home with its configuration, database and pool limits (those missing); safe to repeat.

    The instance is opened once here, alone: two processes that create its tables at once can break
    each other.
    """
    home = settings.dagster_home
    make_home(settings.home)
    make_private(home)
    os.environ["DAGSTER_HOME"] = str(home)

    import dagster as dg

    with _alone(home):
        config = home / "dagster.yaml"
        text = dagster_yaml(settings)
        if not config.exists() or config.read_text().startswith(_DAGSTER_YAML.splitlines()[0]):
            config.write_text(text)
        with dg.DagsterInstance.get() as instance:
            instance.get_runs_count()
            set_missing_pool_limits(instance)
    return home


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One process at a time; also where the folder cannot be written, whose files are there already then."""
    with ExitStack() as stack:
        try:
            lock = stack.enter_context((home / "prepare.lock").open("a"))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
        else:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_missing_pool_limits(instance: "dg.DagsterInstance") -> dict[str, int]:
    """The pools' limits, after setting those that nobody has set."""
    storage = instance.event_log_storage
    known = {limit.name: limit.limit for limit in storage.get_pool_limits() if not limit.from_default}
    for pool, limit in POOL_LIMITS.items():
        if pool not in known:
            storage.set_concurrency_slots(pool, limit)
    return {pool: known.get(pool, limit) for pool, limit in POOL_LIMITS.items()}
