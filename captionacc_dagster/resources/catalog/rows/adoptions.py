"""Rows of videos that were taken over from the predecessor, and the arguments that register one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from captionacc_dagster.resources.catalog.rows.record import Row
from modal_gpu.contracts import CropRegion


class Adoption(Row):
    """An adopted video. ``fingerprint`` (SHA-256) identifies the predecessor's state that was adopted.

    ``row_updated_at`` is the video's ``updated_at`` at that time; ``reported_at`` when Dagster had its
    events.
    """

    video_id: str
    tenant_id: str
    fingerprint: str
    row_updated_at: datetime
    adopted_at: datetime
    reported_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class AdoptedVideo:
    """The arguments of ``adopt_video``. A stage in ``wait`` is made by a run.

    ``version`` has ``version``, ``chunk_count``, ``total_frames``, ``total_size_bytes``, and of its pair
    labels ``run_id``, ``model_version``, ``storage_key``, ``processing_time_seconds``, ``started_at`` and
    ``completed_at``.
    """

    tenant_id: str
    video_id: str
    fingerprint: str
    storage_key: str
    size_bytes: int
    display_path: str
    partition_key: str
    uploaded_at: datetime | None = None
    uploaded_by_user_id: str | None = None
    is_demo: bool = False
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    frame_count: int | None = None
    full_frame_count: int | None = None
    ocr_box_count: int | None = None
    layout_status: Literal["wait", "annotate", "done"] = "wait"
    layout_note: str = ""
    proposed_crop_region: CropRegion | None = None
    crop_region: CropRegion | None = None
    approved_by: str | None = None
    approved_at: datetime | None = None
    has_layout_db: bool = False
    boundaries_status: Literal["wait", "annotate", "done"] = "wait"
    version: dict[str, Any] | None = None
    caption_count: int | None = None
    has_captions_db: bool = False
    text_status: Literal["wait", "annotate", "done"] = "wait"
    text_caption_count: int | None = None
