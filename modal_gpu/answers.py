"""The answers of deployed functions, as a caller reads them: a result or a typed error, and usage."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modal_gpu import errors
from modal_gpu.deployment.calls import CONTRACT, FORMER_CONTRACT
from modal_gpu.errors import CaptionAccError, ContractError, RemoteCallError, RemoteInterruptedError

#: Versions of the answer that are understood: to calls by keywords, and of calls in the former envelope.
_CONTRACTS = (CONTRACT, FORMER_CONTRACT)


@dataclass(frozen=True)
class Answer:
    """A function's answer: a result or an error, and its usage (``None`` where it could not measure it)."""

    result: Any
    error: CaptionAccError | None
    usage: dict[str, Any] | None


def incoming(answer: Any) -> Answer:
    """Parse a function's answer. Raises :class:`ContractError` for a form that this version does not know."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("ok"), bool):
        raise ContractError(
            "the function answered in a form that this version does not know: deploy the app of this version"
        )
    if (version := answer.get("contract", CONTRACT)) not in _CONTRACTS:
        raise ContractError(
            f"the function answered in version {version} of the contract, not {CONTRACT}: deploy the app "
            "of this version"
        )
    usage = answer.get("usage")
    usage = dict(usage) if isinstance(usage, Mapping) else None
    if answer["ok"]:
        return Answer(answer.get("result"), None, usage)
    error = answer.get("error")
    return Answer(None, error_from_wire(error if isinstance(error, Mapping) else {}), usage)


def error_from_wire(error: Mapping[str, Any]) -> CaptionAccError:
    """Return the error that the function raised, in its own class where this side knows it."""
    name, message = str(error.get("type", "")), str(error.get("message", "")) or "no message"
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, CaptionAccError):
        return kind(message)
    kind = RemoteInterruptedError if error.get("retryable") is True else RemoteCallError
    return kind(f"{name or 'an error without a name'}: {message}")
