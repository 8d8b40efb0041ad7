"""Layouts: where the captions are, the full frames they were found on, and labels of text lines."""

from fastapi import APIRouter

from captionacc_dagster.operations.layout_review import full_frames, kept_zones, label_boxes
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.web.service.callers import CallerCatalog
from captionacc_dagster.web.service.desks import CallersVideo, Editor
from captionacc_dagster.web.service.layout_schemas import LabelsIn, LayoutOut
from captionacc_dagster.web.service.parts import Parts, ServiceParts

router = APIRouter(prefix="/videos/{video_id}", tags=["layout"])


@router.get("/layout")
def get_layout(video: CallersVideo, parts: Parts) -> LayoutOut:
    """Return the layout, with the full frames that are there, before they are read as well."""
    return _layout(video, parts)


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
