"""Requests to deployed functions and their answers, as plain data."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from captionacc_dagster.resources.compute.calls import ComputeCall
from modal_gpu import errors
from modal_gpu.deployment.wire import CONTRACT, ProgressAddress, envelope_of
from modal_gpu.errors import CaptionAccError, ContractError, RemoteCallError, RemoteInterruptedError

#: Fields of requests that do not change the work, and fields whose order has no meaning.
_NOT_THE_WORK = ("run_id",)
_SETS = ("outputs",)


@dataclass(frozen=True)
class Envelope:
    """A function's answer: a result or an error, and its usage (``None`` where it could not measure it)."""

    result: Any
    error: CaptionAccError | None
    usage: dict[str, Any] | None


def request_hash(call: ComputeCall) -> str:
    """Return a hash that is equal for calls that do the same work, in every process and run."""
    request = {
        key: sorted(value) if key in _SETS else value
        for key, value in call.request.items()
        if key not in _NOT_THE_WORK
    }
    work = {"function": call.function, "contract": CONTRACT, "request": request}
    text = json.dumps(work, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def outgoing(call: ComputeCall, queue: str, partition: str) -> dict[str, Any]:
    """Return a function's argument: the request, and where the function reports its progress."""
    return envelope_of(dict(call.request), ProgressAddress(queue, partition))


def incoming(answer: Any) -> Envelope:
    """Parse a function's answer. Raises :class:`ContractError` for a form that this version does not know."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("ok"), bool):
        raise ContractError(
            "the function answered in a form that this version does not know: deploy the app of this version"
        )
    if (version := answer.get("contract", CONTRACT)) != CONTRACT:
        raise ContractError(
            f"the function answered in version {version} of the contract, not {CONTRACT}: deploy the app of "
            "this version"
        )
    usage = answer.get("usage")
    usage = dict(usage) if isinstance(usage, Mapping) else None
    if answer["ok"]:
        return Envelope(answer.get("result"), None, usage)
    error = answer.get("error")
    return Envelope(None, error_from_wire(error if isinstance(error, Mapping) else {}), usage)


def error_from_wire(error: Mapping[str, Any]) -> CaptionAccError:
    """Return the error that the function raised, in its own class where this side knows it."""
    name, message = str(error.get("type", "")), str(error.get("message", "")) or "no message"
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, CaptionAccError):
        return kind(message)
    kind = RemoteInterruptedError if error.get("retryable") is True else RemoteCallError
    return kind(f"{name or 'an error without a name'}: {message}")
