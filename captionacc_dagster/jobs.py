"""The jobs of a video, up to its layout, from the approval to subtitles, or all of it; the job of upkeep."""

import dagster as dg

from captionacc_dagster.assets.captions import caption_ocr, captions_db, subtitles
from captionacc_dagster.assets.crops import crop_and_infer_caption_frame_extents
from captionacc_dagster.assets.external import layout_approval
from captionacc_dagster.assets.layout import extract_frames_and_ocr
from captionacc_dagster.assets.upkeep import ReconciliationConfig, reconciliation_report

layout_job = dg.define_asset_job(
    "layout",
    dg.AssetSelection.assets(extract_frames_and_ocr) - dg.AssetSelection.assets(layout_approval.key),
    description="Full frames, their OCR and the caption layout of one video.",
)

captions_job = dg.define_asset_job(
    "captions",
    dg.AssetSelection.assets(crop_and_infer_caption_frame_extents, captions_db, caption_ocr, subtitles),
    description="Cropped frames, caption extents, captions, their text and subtitle files of one video.",
)

video_job = dg.define_asset_job(
    "video",
    dg.AssetSelection.assets(
        extract_frames_and_ocr,
        crop_and_infer_caption_frame_extents,
        captions_db,
        caption_ocr,
        subtitles,
    ),
    description=(
        "Everything from the upload to subtitles, if the tenant's policy approves the layout. Otherwise it "
        "ends with the layout, and the rest is skipped."
    ),
)

caption_text_job = dg.define_asset_job(
    "caption_text",
    dg.AssetSelection.assets(caption_ocr, subtitles),
    description="The text of captions that exist already, and their subtitle files.",
)

infer_job = dg.define_asset_job(
    "infer",
    dg.AssetSelection.assets("caption_frame_extents_db", captions_db, caption_ocr, subtitles),
    description="The extents of a video's present cropped frames made again, and what depends on them.",
)

reconciliation_job = dg.define_asset_job(
    "reconciliation",
    dg.AssetSelection.assets(reconciliation_report),
    description="Removes what is no longer needed. Launched by hand it only reports, unless configured.",
)

upkeep = dg.ScheduleDefinition(
    name="upkeep",
    job=reconciliation_job,
    cron_schedule="15 3 * * *",
    run_config=dg.RunConfig(ops={"reconciliation_report": ReconciliationConfig(dry_run=False)}),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Runs once a night. Objects that the catalogue does not know are only reported.",
)
