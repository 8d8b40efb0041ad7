"""People's requests to read captions again."""

from collections.abc import Sequence

from captionacc_dagster.operations.caption_edits import stored_captions
from captionacc_dagster.resources.catalog import CaptionOcrRequest, Catalog, VideoRow
from modal_gpu.errors import CaptionAccError
from modal_gpu.storage import ObjectStore

#: Unknown ids that an error names.
_SHOWN = 10


class UnknownCaptionsError(CaptionAccError):
    """A video has no captions with these ids."""


def read_again(
    catalog: Catalog, object_store: ObjectStore, video: VideoRow, captions: Sequence[int], *, asked_by: str
) -> CaptionOcrRequest:
    """Request to read captions again by their ids; without any, all of them.

    Texts that people wrote stay. Raises ``CaptionsMissingError``, ``WrongStateError`` before the video has
    captions, and :class:`UnknownCaptionsError`.
    """
    if captions:
        known = {caption.id for caption in stored_captions(object_store, video)}
        if unknown := sorted(set(captions) - known):
            listed = ", ".join(map(str, unknown[:_SHOWN])) + (", …" if len(unknown) > _SHOWN else "")
            raise UnknownCaptionsError(
                f"the video has no captions with the ids {listed}; `captionacc captions VIDEO` lists them"
            )
    return catalog.request_caption_ocr(video.video_id, list(captions) or None, requested_by=asked_by)
