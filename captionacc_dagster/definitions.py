"""The code location: everything that Dagster loads, assembled."""

from captionacc_dagster.platform.loading import without_collections

with without_collections():
    import dagster as dg

    from captionacc_dagster.actions.backfill import backfill_extents_job
    from captionacc_dagster.actions.deletion import delete_video_job
    from captionacc_dagster.actions.layout import approve_layout_job
    from captionacc_dagster.actions.processing import process_video_job
    from captionacc_dagster.actions.text import redo_caption_ocr_job
    from captionacc_dagster.assets import checks
    from captionacc_dagster.assets.captions import caption_ocr, captions_db, subtitles
    from captionacc_dagster.assets.crops import crop_and_infer_caption_frame_extents
    from captionacc_dagster.assets.external import source_video
    from captionacc_dagster.assets.layout import extract_frames_and_ocr
    from captionacc_dagster.assets.upkeep import reconciliation_report
    from captionacc_dagster.dagster_internals.adaptation import adapt_dagster
    from captionacc_dagster.dagster_internals.commands import this_is_a_code_server
    from captionacc_dagster.jobs import (
        caption_text_job,
        captions_job,
        infer_job,
        layout_job,
        reconciliation_job,
        upkeep,
        video_job,
    )
    from captionacc_dagster.platform.orphans import end_code_server_without_daemon
    from captionacc_dagster.platform.run_start import begin_run
    from captionacc_dagster.resources.factories import resources
    from captionacc_dagster.resources.start_line import log_start_of_code_server
    from captionacc_dagster.sensors.alerts import alerts
    from captionacc_dagster.sensors.backfills import backfills
    from captionacc_dagster.sensors.caption_ocr_requests import caption_ocr_requests
    from captionacc_dagster.sensors.layout_approvals import layout_approvals
    from captionacc_dagster.sensors.new_videos import new_videos
    from captionacc_dagster.sensors.priority_aging import priority_aging
    from captionacc_dagster.sensors.restorations import restorations
    from captionacc_dagster.sensors.run_outcomes import run_outcomes

defs = dg.Definitions(
    assets=[
        source_video,
        extract_frames_and_ocr,
        crop_and_infer_caption_frame_extents,
        captions_db,
        caption_ocr,
        subtitles,
        reconciliation_report,
    ],
    asset_checks=checks.ALL,
    jobs=[
        *(layout_job, captions_job, video_job, caption_text_job, infer_job, reconciliation_job),
        *(process_video_job, approve_layout_job, redo_caption_ocr_job),
        *(backfill_extents_job, delete_video_job),
    ],
    schedules=[upkeep],
    sensors=[
        new_videos,
        layout_approvals,
        caption_ocr_requests,
        backfills,
        run_outcomes,
        restorations,
        priority_aging,
        alerts,
    ],
    resources=resources(),
    # A run works in one process: starting another for each step takes longer than most steps.
    executor=dg.in_process_executor,
)


#: Imported by the process that runs are forked from, and by no other.
WARM_START = "captionacc_dagster.resources.warm_start"


@dg.definitions
def code_location() -> dg.Definitions:
    """Adapt this process and return the definitions; Dagster's processes that load the code call this.

    Those are code servers, runs and Dagster's own commands. Importing this module changes nothing.
    """
    adapt_dagster(at_run_start=begin_run, preload=[WARM_START])
    end_code_server_without_daemon()
    if this_is_a_code_server():
        log_start_of_code_server()
    return defs
