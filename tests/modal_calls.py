"""Calls of the deployed functions as the platform makes them."""

from typing import Any

from modal_gpu.contracts import to_wire
from modal_gpu.deployment.calls import CONTRACT, keywords_of, read_call


def by_keywords(function: str, request: Any, **about: Any) -> dict[str, Any]:
    """The keywords of a call for a contract request."""
    return {**keywords_of(function, to_wire(request)), "contract": CONTRACT, **about}


def request_in(payload: dict[str, Any]) -> dict[str, Any]:
    """The request of a call that the platform made, in its wire form."""
    call = read_call(payload["function"], payload["kwargs"])
    return to_wire(call.request(None))
