"""Requests to read captions again: a run that reads a video's text also serves the waiting requests."""

from collections.abc import Collection, Sequence

from captionacc_dagster.resources.catalog import CaptionOcrRequest, Catalog, WrongStateError
from modal_gpu.databases.captions import Caption, mark_ocr


def begin_requests(catalog: Catalog, video_id: str, run_id: str) -> list[CaptionOcrRequest]:
    """Begin the video's waiting requests, and those that an earlier try of the run began; return them."""
    begun = []
    for request in catalog.list_caption_ocr_requests(video_id):
        if request.status in ("queued", "processing"):
            try:
                begun.append(catalog.begin_caption_ocr_request(request.id, run_id))
            except WrongStateError:
                # It was cancelled in the meantime.
                continue
    return begun


def queued_again(
    captions: Sequence[Caption], requests: Sequence[CaptionOcrRequest], zones: Collection[int] = ()
) -> list[Caption]:
    """Return the captions, with the requested ones and those of ``zones`` queued for OCR.

    Ids that no longer exist are ignored.
    """
    everything = any(request.caption_ids is None for request in requests)
    named = {number for request in requests for number in request.caption_ids or ()}
    ids = [c.id for c in captions if c.state != "gap" and (everything or c.id in named or c.zone in zones)]
    return mark_ocr(captions, ids, "queued")


def finish_requests(
    catalog: Catalog, requests: Sequence[CaptionOcrRequest], captions: Sequence[Caption], run_id: str
) -> None:
    """Finish the requests, each with the number of its captions, once the text is published."""
    known = {caption.id for caption in captions}
    for request in requests:
        count = len(captions) if request.caption_ids is None else len(known & set(request.caption_ids))
        try:
            catalog.finish_caption_ocr_request(request.id, run_id, caption_count=count)
        except WrongStateError:
            # It was cancelled during the reading.
            continue
