"""Catalogue and Dagster's own storage on one PostgreSQL, as in production, which fails during a run."""

import time
from collections.abc import Iterator

import dagster as dg
import psutil
import pytest

from tests.faults.disturbed_platform import Platform, make_clip, run_process, running_platform, start_daemon
from tests.faults.injection import Fault
from tests.faults.table import Healed, Tell
from tests.faults.test_killed_runs import TEXT

pytestmark = [
    pytest.mark.faults,
    pytest.mark.e2e,
    pytest.mark.thorough,
    pytest.mark.xdist_group("faults-killed"),
]

HELD = Fault(TEXT, "put captions.db", when="before", do="hold")
_STORAGE = """\
storage:
  custom:
    module: captionacc_dagster.dagster_internals.pooled_storage
    class: PooledPostgresStorage
    config:
      postgres_url: {url}
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    clip = make_clip(tmp_path_factory.mktemp("clip"))
    with running_platform(clip, storage=_STORAGE) as platform:
        yield platform


def test_a_run_that_dies_with_dagsters_own_database_is_started_again(shared: Platform, tell: Tell):
    """Neither the process nor its code server can report the end to Dagster."""
    platform = shared
    undisturbed, video_id = platform.upload(), platform.upload(HELD)
    platform.wait_fired(video_id)
    (run,) = platform.runs(video_id, "video")
    process = run_process(platform, run.run_id)
    since = time.time()
    platform.postgres.stop()
    try:
        platform.plans.let_go(video_id)
        platform.until("the process's end", lambda: not _works(process))
    finally:
        platform.postgres.ensure_running()
    # As a supervisor does.
    if platform.services.processes["dagster-daemon"].poll() is not None:
        start_daemon(platform)
    assert platform.instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED
    platform.wait_settled(video_id)
    seconds = time.time() - since
    platform.wait_settled(undisturbed)
    assert platform.published(video_id) == platform.published(undisturbed)
    assert platform.left_over(video_id) == []
    tell(
        Healed(
            "database down, Dagster's on it",
            HELD.asset,
            f"{HELD.when} {HELD.step}",
            "the missing process was noticed",
            seconds,
        )
    )


def _works(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
