"""``run_failures``: a run that ended without its own word (killed, crashed) still ends in the row.

An asset's body writes the errors that it sees. A killed process sees nothing, and a failed check
ends the run outside any body; Dagster notices both, and this sensor writes them.
"""

import dagster as dg

from captionacc_dagster.resources.catalog import STAGES, Catalog, UnknownVideoError
from captionacc_dagster.sensors.tags import VIDEO
from modal_gpu.errors import CaptionAccError


@dg.run_failure_sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes the error of a run that could not write it itself into the video's row.",
)
def run_failures(context: dg.RunFailureSensorContext, catalog: dg.ResourceParam[Catalog]) -> None:
    """Stages that still belong to the failed run end in ``error``, unless Dagster starts it again."""
    run = context.dagster_run
    video_id = run.tags.get(VIDEO) or run.tags.get("dagster/partition")
    if not video_id or run.tags.get("dagster/will_retry") == "true":
        return
    try:
        video = catalog.get_video(video_id)
    except UnknownVideoError:
        return
    for stage in STAGES:
        if video.stage(stage).run_id != run.run_id:
            continue
        message = f"The run ended before it was done: {context.failure_event.message}"
        try:
            catalog.fail_stage(video_id, stage, run.run_id, message, "RunFailed")
        except CaptionAccError as error:
            context.log.warning(f"{stage} of video {video_id} had ended already: {error}")
