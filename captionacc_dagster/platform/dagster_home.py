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

#: Slots of each pool. ``dagster.yaml`` can only hold one default for all.
POOL_LIMITS = {"extract": 5, "crop_and_infer": 2, "caption_ocr": 10}

_DAGSTER_YAML = """\
# Written by `captionacc`; delete this line to keep your own changes.
# Dagster's own, whose web server also serves pictures.
instance_class:
  module: captionacc_dagster.web.instance
  class: PlatformInstance
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    granularity: op
  runs:
    max_concurrent_runs: {max_concurrent_runs}
    # A tenant leaves a slot for others. By job, because a run that waits for its pool counts too.
    tag_concurrency_limits:
      - key: .dagster/captionacc-tenant-job
        limit: {tenant_runs}
        value:
          applyLimitPerUniqueValue: true
run_queue:
  dequeue_interval_seconds: 1
  # A launch waits until its process has loaded the code; launched one by one, cores would idle.
  dequeue_use_threads: true
  dequeue_num_workers: 4
  # Runs survive a code server that restarts or is too busy to answer.
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
  # Without this, a killed run keeps its pool's slot forever.
  free_slots_after_run_end_seconds: 10
# A killed run process is retried once; assets retry failed steps themselves.
run_retries:
  enabled: true
  max_retries: 1
  retry_on_asset_or_op_failure: false
"""


def dagster_yaml(settings: Settings) -> str:
    """Return the ``dagster.yaml`` of the embedded platform."""
    return _DAGSTER_YAML.format(max_concurrent_runs=settings.run_limit, tenant_runs=settings.tenant_run_limit)


def prepare_dagster_home(settings: Settings) -> Path:
    """Create Dagster's home with its configuration, database and missing pool limits, and return it.

    Safe to repeat. The instance is opened under a lock: two processes that create its tables at the same time
    break each other.
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
    """Lock the folder against other processes; a read-only one has its files already and needs no lock."""
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
    """Set the pool limits that nobody has set, and return all of them."""
    storage = instance.event_log_storage
    known = {limit.name: limit.limit for limit in storage.get_pool_limits() if not limit.from_default}
    for pool, limit in POOL_LIMITS.items():
        if pool not in known:
            storage.set_concurrency_slots(pool, limit)
    return {pool: known.get(pool, limit) for pool, limit in POOL_LIMITS.items()}
