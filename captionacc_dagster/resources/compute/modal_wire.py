"""Requests to deployed functions, as their documented keywords, and the hash that finds a call again."""

import hashlib
import json
from typing import Any

from captionacc_dagster.resources.compute.calls import ComputeCall
from modal_gpu.deployment.calls import CONTRACT, keywords_of

#: Fields of requests that do not change the work, and fields whose order has no meaning.
_NOT_THE_WORK = ("run_id",)
_SETS = ("outputs",)
#: Version of the requests, not of the calls: a request is the same work in whatever form it is sent, so calls
#: that the version before started are found again.
_WORK = 1


def request_hash(call: ComputeCall) -> str:
    """Return a hash that is equal for calls that do the same work, in every process and run."""
    request = {
        key: sorted(value) if key in _SETS else value
        for key, value in call.request.items()
        if key not in _NOT_THE_WORK
    }
    work = {"function": call.function, "contract": _WORK, "request": request}
    text = json.dumps(work, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def outgoing(call: ComputeCall, call_id: str) -> dict[str, Any]:
    """Return a function's keywords. It reports its progress under the ``call_id``."""
    return {**keywords_of(call.function, call.request), "contract": CONTRACT, "call_id": call_id}
