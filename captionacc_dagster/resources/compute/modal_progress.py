"""Progress of a remote call, read from its partition of a queue. Losing it never fails the call."""

import logging
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger(__name__)
_FAILURES_BEFORE_SILENCE = 3
_MESSAGES_AT_ONCE = 100


class ProgressReader:
    """Reads the messages that a function wrote to its partition.

    Messages are ``{"stage": str, "done": int, "total": int}``, and may have ``"call_id"``: the call that
    the container works on.
    """

    def __init__(self, client: Any, queue: str, environment: str | None, partition: str) -> None:
        self._client, self._name, self._environment = client, queue, environment
        self._partition = partition
        self._queue: Any = None
        self._failures = 0

    def read(self) -> list[Mapping[str, Any]]:
        """Return new messages, oldest first; an empty list when the queue cannot be read."""
        if self._failures >= _FAILURES_BEFORE_SILENCE:
            return []
        try:
            if self._queue is None:
                self._queue = self._client.Queue.from_name(self._name, environment_name=self._environment)
            found = self._queue.get_many(_MESSAGES_AT_ONCE, block=False, partition=self._partition)
        except Exception as error:
            self._failures += 1
            _log.debug("progress of %s is not readable: %s", self._partition, error)
            return []
        self._failures = 0
        return [message for message in found if isinstance(message, Mapping)]


def step_of(message: Mapping[str, Any]) -> tuple[str, int, int] | None:
    """Return stage, done and total of a message; ``None`` for a message without them."""
    stage, done, total = message.get("stage"), message.get("done"), message.get("total")
    if isinstance(stage, str) and isinstance(done, int) and isinstance(total, int):
        return stage, done, total
    return None
