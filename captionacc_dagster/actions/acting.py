"""The parts that jobs for people share: the video of the partition, its form, failures in one sentence."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from captionacc_dagster.dagster_internals.quiet_failures import FinalFailure
from captionacc_dagster.logs import about
from captionacc_dagster.partition_keys import name_of, video_id_of
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.resources.opening import open_catalog
from captionacc_dagster.runs.failures import final_failure, retry
from captionacc_dagster.runs.retries import DEFAULT
from captionacc_dagster.runs.tags import EVENT, QUEUE_PRIORITY, TRIGGER, tag_run
from captionacc_dagster.settings import get_settings
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)

#: A person waits for the answer, and a run takes a second.
_TAGS = {QUEUE_PRIORITY: "100", TRIGGER: "ui", EVENT: "manual"}
#: Recorded as the person, since Dagster's UI does not know who uses it.
UI_USER = "dagster"
#: The name of every op's config in a run's config.
Form = Mapping[str, Any]


@contextmanager
def acting_on(context: dg.OpExecutionContext, catalog: Catalog) -> Iterator[VideoRow]:
    """Yield the row of the run's video, also of a deleted one; errors end the run in one sentence.

    Transient ones are retried as those of assets are. The run gets the tags of other runs.
    """
    if not context.has_partition_key:
        raise FinalFailure("No video is chosen: choose its partition in the launchpad.", "NoPartition")
    key = context.partition_key
    with _one_sentence(context, name_of(key), video_id_of(key)):
        video = catalog.get_video(video_id_of(key))
        tag_run(catalog, context.instance, context.run)
        with about(video=video.video_id, tenant=video.tenant_id, run=context.run.run_id):
            yield video


@contextmanager
def acting(context: dg.OpExecutionContext) -> Iterator[None]:
    """Do the same for a job of no single video."""
    with _one_sentence(context, "", ""):
        yield


@contextmanager
def _one_sentence(context: dg.OpExecutionContext, name: str, video_id: str) -> Iterator[None]:
    try:
        yield
    except CaptionAccError as error:
        tries = context.retry_number + 1
        if DEFAULT.tries_again(error, tries):
            again = retry(error, name, video_id, DEFAULT, tries)
            context.log.warning(str(again))
            raise again from None
        raise final_failure(error, name, video_id, again="launch this job again") from None


def video_job(
    name: str, op: dg.OpDefinition, description: str, form: Callable[[VideoRow], Form] | None = None
) -> dg.JobDefinition:
    """Return a job of one op for the video of the chosen partition.

    ``form`` returns the config that the launchpad shows once a partition is chosen, and that a backfill of
    the job runs with; by default the op's own defaults.
    """

    def run_config(partition_key: str) -> dict[str, Any]:
        return {"ops": {op.name: {"config": dict(_filled(form, partition_key))}}}

    @dg.job(
        name=name,
        description=description,
        partitions_def=videos,
        config=dg.PartitionedConfig(videos, run_config_for_partition_key_fn=run_config),
        tags=_TAGS,
    )
    def job() -> None:
        op()

    return job


def platform_job(name: str, op: dg.OpDefinition, description: str, form: Form) -> dg.JobDefinition:
    """Return a job of one op that chooses its videos itself; ``form``: the config that is shown at first."""

    @dg.job(
        name=name,
        description=description,
        config={"ops": {op.name: {"config": dict(form)}}},
        tags=_TAGS,
    )
    def job() -> None:
        op()

    return job


def _filled(form: Callable[[VideoRow], Form] | None, partition_key: str) -> Form:
    """Return a video's form; the defaults if the catalogue has no answer, which the run will report."""
    if form is None:
        return {}
    try:
        return form(open_catalog(get_settings()).get_video(video_id_of(partition_key)))
    except CaptionAccError as error:
        _log.warning("the form of %s has its defaults: %s", partition_key, error)
        return {}
