"""The id of the request that a task or thread works on, for answers and log lines."""

import re
import uuid
from contextvars import ContextVar

#: Empty outside of requests.
request_id: ContextVar[str] = ContextVar("request_id", default="")
_USABLE = re.compile(r"[A-Za-z0-9._-]{8,64}")


def new_request_id(given: str | None) -> str:
    """Return the id that a proxy gave if it is usable in a log, else a new one."""
    return given if given and _USABLE.fullmatch(given) else uuid.uuid4().hex
