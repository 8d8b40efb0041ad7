"""``redo_caption_ocr``: reads a video's captions again, all or some."""

import dagster as dg
from pydantic import Field

from captionacc_dagster.actions.acting import UI_USER, acting_on, video_job
from captionacc_dagster.operations.text_again import read_again
from captionacc_dagster.resources.catalog import Catalog
from modal_gpu.storage import ObjectStore


class Reading(dg.Config):
    """The captions to read again."""

    captions: list[int] = Field(
        default=[],
        description="ids of captions, as `captionacc captions` shows them; without any, all are read again",
    )
    requested_by: str = Field(default=UI_USER, description="name of the person who asks for it")


@dg.op(description="Requests to read captions again; a sensor starts the run that does so.")
def request_text(
    context: dg.OpExecutionContext,
    config: Reading,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
) -> None:
    """Request the text of the run's video again. Texts that people wrote stay."""
    with acting_on(context, catalog) as video:
        request = read_again(catalog, object_store, video, config.captions, asked_by=config.requested_by)
        which = "all captions" if request.caption_ids is None else f"{len(request.caption_ids)} captions"
        context.log.info(f"{video.display_path}: {which} will be read again (request {request.id})")
        context.add_output_metadata({"video": video.display_path, "captions": which, "request": request.id})


redo_caption_ocr_job = video_job(
    "redo_caption_ocr",
    request_text,
    "Reads captions of a video again, for example after a change of its languages or of the OCR engine. "
    "Choose the video's partition. Texts that people wrote stay.",
    lambda _: {"captions": []},
)
