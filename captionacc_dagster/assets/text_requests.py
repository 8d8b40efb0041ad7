"""Requests to read captions anew: a run that reads a video's text takes those that wait along."""

from collections.abc import Sequence

from captionacc_dagster.resources.catalog import CaptionOcrRequest, Catalog, WrongStateError
from modal_gpu.databases.captions import Caption, mark_ocr


def begin_requests(catalog: Catalog, video_id: str, run_id: str) -> list[CaptionOcrRequest]:
    """Make the run the worker of the video's requests: those that wait, and its own of an earlier try."""
    begun = []
    for request in catalog.list_caption_ocr_requests(video_id):
        if request.status in ("queued", "processing"):
            try:
                begun.append(catalog.begin_caption_ocr_request(request.id, run_id))
            except WrongStateError:
                # Cancelled in between.
                continue
    return begun


def queued_again(captions: Sequence[Caption], requests: Sequence[CaptionOcrRequest]) -> list[Caption]:
    """The captions, with those that the requests name waiting for OCR. Ids that are gone are left out."""
    if not requests:
        return list(captions)
    everything = any(request.caption_ids is None for request in requests)
    named = {number for request in requests for number in request.caption_ids or ()}
    ids = [c.id for c in captions if c.state != "gap" and (everything or c.id in named)]
    return mark_ocr(captions, ids, "queued")


def finish_requests(
    catalog: Catalog, requests: Sequence[CaptionOcrRequest], captions: Sequence[Caption], run_id: str
) -> None:
    """The text is published; each request is told how many captions were its own."""
    known = {caption.id for caption in captions}
    for request in requests:
        count = len(captions) if request.caption_ids is None else len(known & set(request.caption_ids))
        try:
            catalog.finish_caption_ocr_request(request.id, run_id, caption_count=count)
        except WrongStateError:
            # Cancelled while it was read.
            continue
