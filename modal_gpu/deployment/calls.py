"""The documented keywords of the deployed functions, as requests, and requests as those keywords.

Callers of their own give the first, documented ones. The platform gives what it needs besides: ``outputs``,
``segment``, ``version``, a batch of ``captions`` … With ``contract`` a function answers in the envelope of
:mod:`modal_gpu.deployment.wire`, and with ``call_id`` it reports its progress under that name.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modal_gpu.contracts import (
    CaptionOcrRequest,
    CropInferRequest,
    ExtractRequest,
    InferenceBatchRequest,
    from_wire,
    to_wire,
)
from modal_gpu.deployment.settings import CAPTION_OCR, CROP_AND_INFER, EXTRACT, INFER, PROGRESS_QUEUE
from modal_gpu.errors import ContractError
from modal_gpu.frame_rates import CROP_RATE, FULL_FRAME_RATE
from modal_gpu.keys import CroppedFramesPlace, VideoKeys
from modal_gpu.storage import ObjectStore

Keywords = Mapping[str, Any]
Request = ExtractRequest | CropInferRequest | CaptionOcrRequest | InferenceBatchRequest

#: Version of the answer to a call by keywords.
CONTRACT = 2
#: Version of the envelope in which callers of the version before send a request. To be dropped with the next.
FORMER_CONTRACT = 1
#: Keywords that say how to answer, not what to do.
_ABOUT_THE_CALL = ("contract", "call_id")


@dataclass(frozen=True)
class ProgressAddress:
    """The queue and partition for a call's progress."""

    queue: str
    partition: str


@dataclass(frozen=True)
class Call:
    """A call as a function received it. ``contract``: ``None`` to answer with the result alone."""

    contract: int | None
    #: Builds the request; callers without a catalogue leave parts of it to what is in the bucket.
    request: Callable[[ObjectStore], Request]
    progress: ProgressAddress | None = None
    #: Whether the result of a list of one is that one.
    is_single: bool = False


def read_call(function: str, given: Keywords) -> Call:
    """Return the call that a function's keywords describe. Raises :class:`ContractError` by their names.

    The first parameter may be an envelope of the former contract instead.
    """
    if isinstance(envelope := _first(given), Mapping):
        return _former_call(function, envelope)
    contract = given.get("contract")
    if contract not in (None, CONTRACT):
        raise ContractError(
            f"the call uses contract {contract!r}, the deployed app {CONTRACT}: "
            "deploy the app and the orchestrator from the same version"
        )
    call_id = given.get("call_id")
    if call_id is not None and not (isinstance(call_id, str) and 0 < len(call_id.encode()) <= 64):
        raise ContractError(f"call_id {str(call_id)[:80]!r} is not a name of 1 to 64 bytes")
    keywords = {
        name: value for name, value in given.items() if name not in _ABOUT_THE_CALL and value is not None
    }
    return Call(
        contract,
        lambda store: _READERS[function](store, keywords),
        ProgressAddress(PROGRESS_QUEUE, call_id) if call_id else None,
        is_single=function == CAPTION_OCR and "captions" not in keywords,
    )


def contract_of(given: Keywords) -> int | None:
    """Return the contract by which a call expects its answer, before anything else of it is known."""
    if isinstance(_first(given), Mapping):
        return FORMER_CONTRACT
    return CONTRACT if given.get("contract") else None


def _first(given: Keywords) -> Any:
    """Return the first parameter of a function, where callers of the former contract put their envelope."""
    return given.get("video_key", given.get("chunks_prefix"))


def keywords_of(function: str, request: Keywords) -> dict[str, Any]:
    """Return the documented keywords for a request in its wire form (:func:`modal_gpu.contracts.to_wire`)."""
    return _WRITERS[function](dict(request))


# -- the functions, each way -------------------------------------------------------------------


def _extract(store: ObjectStore, given: Keywords) -> ExtractRequest:
    data = dict(given)
    rate = data.pop("frame_rate", FULL_FRAME_RATE)
    if rate != FULL_FRAME_RATE:
        data["full_frame_rate"] = rate
    return from_wire(ExtractRequest, data)


def _extract_keywords(request: dict[str, Any]) -> dict[str, Any]:
    rate = request.pop("full_frame_rate", None)
    return request | {"frame_rate": FULL_FRAME_RATE if rate is None else rate}


def _crop(store: ObjectStore, given: Keywords) -> CropInferRequest:
    data = dict(given)
    data["crop_rate"] = data.pop("frame_rate", CROP_RATE)
    data.setdefault("run_id", str(uuid.uuid4()))
    if "version" not in data:
        # Checked first with any version, so that wrong input is reported before the bucket is asked.
        checked = from_wire(CropInferRequest, data | {"version": 1})
        from modal_gpu.functions.stored_frames import next_version

        data["version"] = next_version(store, VideoKeys(checked.tenant_id, checked.video_id))
    return from_wire(CropInferRequest, data)


def _crop_keywords(request: dict[str, Any]) -> dict[str, Any]:
    request["frame_rate"] = request.pop("crop_rate", CROP_RATE)
    return request


def _captions(store: ObjectStore, given: Keywords) -> CaptionOcrRequest:
    rest = dict(given)
    prefix, start, end = (rest.pop(name, None) for name in ("chunks_prefix", "start_frame", "end_frame"))
    if not isinstance(prefix, str):
        raise ContractError("chunks_prefix: the prefix of a version's chunks is required")
    place = CroppedFramesPlace.of(prefix)
    data = {
        "tenant_id": place.keys.tenant_id,
        "video_id": place.keys.video_id,
        "version": place.version,
        "zone": place.zone,
        "captions": [{"caption_id": 0, "start_index": start, "end_index": end}],
        "crop_region": {"crop_left": 0, "crop_top": 0, "crop_right": 1, "crop_bottom": 1},
        "frame_count": 1,
    } | rest
    request = from_wire(CaptionOcrRequest, data)
    if {"frame_count", "crop_region"} <= rest.keys():
        return request
    from modal_gpu.functions.stored_frames import crop_region_of, stored_frames

    if "frame_count" not in rest:
        stored = stored_frames(store, place)
        data |= {"frame_count": stored.index_count, "crop_rate": CROP_RATE / stored.step}
    if "crop_region" not in rest:
        data["crop_region"] = to_wire(crop_region_of(store, place))
    return _checked(from_wire(CaptionOcrRequest, data), prefix)


def _checked(request: CaptionOcrRequest, prefix: str) -> CaptionOcrRequest:
    for caption in request.captions:
        if caption.end_index > request.frame_count:
            raise ContractError(
                f"frames [{caption.start_index}, {caption.end_index}) are not all stored: {prefix} has "
                f"{request.frame_count} indices"
            )
    return request


def _caption_keywords(request: dict[str, Any]) -> dict[str, Any]:
    place = CroppedFramesPlace(
        VideoKeys(request.pop("tenant_id"), request.pop("video_id")),
        request.pop("version"),
        request.pop("zone", 0),
    )
    captions = request["captions"]
    return request | {
        "chunks_prefix": place.prefix,
        "start_frame": min((caption["start_index"] for caption in captions), default=0),
        "end_frame": max((caption["end_index"] for caption in captions), default=1),
    }


def _inference(store: ObjectStore, given: Keywords) -> InferenceBatchRequest:
    return from_wire(InferenceBatchRequest, {"run_id": str(uuid.uuid4())} | dict(given))


_READERS: dict[str, Callable[[ObjectStore, Keywords], Request]] = {
    EXTRACT: _extract,
    CROP_AND_INFER: _crop,
    CAPTION_OCR: _captions,
    INFER: _inference,
}
_WRITERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    EXTRACT: _extract_keywords,
    CROP_AND_INFER: _crop_keywords,
    CAPTION_OCR: _caption_keywords,
    INFER: lambda request: request,
}


# -- the former contract -----------------------------------------------------------------------

_KINDS: dict[str, type[Request]] = {
    EXTRACT: ExtractRequest,
    CROP_AND_INFER: CropInferRequest,
    CAPTION_OCR: CaptionOcrRequest,
}


def _former_call(function: str, envelope: Mapping[str, Any]) -> Call:
    """Read ``{"contract": 1, "request": {…}, "progress": {"queue", "partition"} | None}``."""
    version = envelope.get("contract")
    if version != FORMER_CONTRACT:
        raise ContractError(
            f"the call uses contract {version!r}, the deployed app {FORMER_CONTRACT} and {CONTRACT}: "
            "deploy the app and the orchestrator from the same version"
        )
    if unknown := envelope.keys() - {"contract", "request", "progress"}:
        raise ContractError(f"the envelope has unknown parts: {', '.join(sorted(map(str, unknown)))}")
    if function not in _KINDS or not isinstance(envelope.get("request"), Mapping):
        raise ContractError(f"{function} takes no such envelope: give it the documented keywords")
    request = from_wire(_KINDS[function], envelope["request"])
    return Call(FORMER_CONTRACT, lambda store: request, _address(envelope.get("progress")))


def _address(progress: Any) -> ProgressAddress | None:
    if progress is None:
        return None
    if not isinstance(progress, Mapping) or progress.keys() != {"queue", "partition"}:
        raise ContractError("progress needs queue and partition")
    for name, value in progress.items():
        if not isinstance(value, str) or not 0 < len(value.encode()) <= 64:
            raise ContractError(f"progress.{name} is not a name of 1 to 64 bytes")
    return ProgressAddress(progress["queue"], progress["partition"])
