"""The runs a video goes through: up to the layout, and from its approval to the subtitles."""

import dagster as dg

from captionacc_dagster.assets.captions import caption_ocr, captions_db, subtitles
from captionacc_dagster.assets.crops import crop_and_infer_caption_frame_extents
from captionacc_dagster.assets.layout import extract_frames_and_ocr

layout_job = dg.define_asset_job(
    "layout",
    dg.AssetSelection.assets(extract_frames_and_ocr),
    description="Full frames, their OCR and the caption layout of one video.",
)

captions_job = dg.define_asset_job(
    "captions",
    dg.AssetSelection.assets(crop_and_infer_caption_frame_extents, captions_db, caption_ocr, subtitles),
    description="Cropped frames, caption extents, captions, their text and subtitle files of one video.",
)

caption_text_job = dg.define_asset_job(
    "caption_text",
    dg.AssetSelection.assets(caption_ocr, subtitles),
    description="The text of captions that are there already, and their subtitle files.",
)
