"""Layouts: where the captions are, the full frames they were found on, and labels of text lines."""

from fastapi import APIRouter, Response

from captionacc_dagster.operations.layout_review import (
    frame_indices,
    full_frames,
    kept_zones,
    label_boxes,
)
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.web.service.callers import CallerCatalog
from captionacc_dagster.web.service.desks import CallersVideo, Editor, KeptAnswers
from captionacc_dagster.web.service.layout_schemas import LabelsIn, LayoutOut
from captionacc_dagster.web.service.parts import Parts, ServiceParts
from modal_gpu.keys import VideoKeys
from modal_gpu.storage_files import etag_of

router = APIRouter(prefix="/videos/{video_id}", tags=["layout"])


@router.get("/layout", response_model=LayoutOut)
def get_layout(video: CallersVideo, parts: Parts, answers: KeptAnswers) -> Response:
    """Return the layout, with the full frames that are there, before they are read as well."""
    store, keys = parts.object_store, VideoKeys(video.tenant_id, video.video_id)
    databases = etag_of(store, keys.layout_db), etag_of(store, keys.captions_db)
    seen = (video.updated_at, *databases, tuple(frame_indices(store, video)))
    body = answers.get(
        ("layout", video.video_id, *seen), lambda: _layout(video, parts).model_dump_json().encode()
    )
    return Response(body, media_type="application/json")


@router.post("/layout/labels")
def set_labels(
    video: CallersVideo, parts: Parts, catalog: CallerCatalog, editor: Editor, asked: LabelsIn
) -> LayoutOut:
    """Label text lines as in or out of the captions; a new analysis keeps the labels."""
    labels = {(one.frame_index, one.box_index): one.label for one in asked.labels}
    label_boxes(catalog, parts.object_store, video, labels, owner=editor, analyse=asked.analyse)
    return _layout(video, parts)


def _layout(video: VideoRow, parts: ServiceParts) -> LayoutOut:
    return LayoutOut.of(video, full_frames(parts.object_store, video), kept_zones(parts.object_store, video))
