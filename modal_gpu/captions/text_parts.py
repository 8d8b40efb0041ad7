"""Texts that a running call has read so far, as an object beside the captions: for people who wait.

The call's result is the truth. These objects are removed once the captions have it.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from modal_gpu.contracts import CaptionOcrRequest, CaptionOcrResult
from modal_gpu.errors import CaptionAccError, ObjectNotFoundError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)
#: Pause between two writes of one call. A call that is quicker writes nothing.
WRITE_SECONDS = 2.0


@checked_dataclass(frozen=True)
class ReadText:
    """The text of the frames ``[start_index, end_index)`` of a zone."""

    zone: Annotated[int, Field(ge=0)]
    start_index: Annotated[int, Field(ge=0)]
    end_index: Annotated[int, Field(ge=1)]
    text: str
    confidence: Annotated[float, Field(ge=0, le=1)]


_PART = TypeAdapter(list[ReadText])


@dataclass
class TextPartWriter:
    """Stores the texts of one call, at most every :data:`WRITE_SECONDS`. Losing one never fails the call."""

    request: CaptionOcrRequest
    object_store: ObjectStore

    def __post_init__(self) -> None:
        self._written = time.monotonic()

    def store(self, results: Sequence[CaptionOcrResult]) -> bool:
        """Store the first results of the request, if it is time to; return whether they were stored."""
        if time.monotonic() - self._written < WRITE_SECONDS:
            return False
        captions, zone = self.request.captions, self.request.zone
        texts = [
            ReadText(zone, caption.start_index, caption.end_index, result.ocr_text, result.confidence)
            for caption, result in zip(captions, results, strict=False)
            if not result.error
        ]
        keys = VideoKeys(self.request.tenant_id, self.request.video_id)
        start, end = captions[0].start_index, captions[-1].end_index
        key = keys.caption_text_part(self.request.version, zone, start, end)
        try:
            self.object_store.put(key, _PART.dump_json(texts), "application/json")
        except CaptionAccError as error:
            _log.debug("texts that were read are not shown yet: %s", error)
            return False
        finally:
            self._written = time.monotonic()
        return True


def read_text_parts(object_store: ObjectStore, names: Iterable[str]) -> dict[tuple[int, int, int], ReadText]:
    """Return the texts of these objects by zone, start and end.

    An object that is gone or damaged has none.
    """
    found: dict[tuple[int, int, int], ReadText] = {}
    for name in names:
        try:
            texts = _PART.validate_json(object_store.get(name))
        except ObjectNotFoundError:
            continue  # The captions have them by now.
        except ValidationError as error:
            _log.warning("%s holds no texts: %d errors", name, error.error_count())
            continue
        found |= {(one.zone, one.start_index, one.end_index): one for one in texts}
    return found
