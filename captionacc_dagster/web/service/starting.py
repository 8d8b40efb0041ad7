"""The start of work that a route asked for, and the run that its answer names."""

import logging
import time
from typing import Literal

from captionacc_dagster.web.service.models import QueuedAnswer
from captionacc_dagster.web.service.parts import ServiceParts
from captionacc_dagster.web.starter import Started
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)
#: Another process that was notified first creates the run; how long its id is waited for, in seconds.
_WAIT_SECONDS = 1.5
_LOOK_SECONDS = 0.1


def start_soon(
    parts: ServiceParts, stage: Literal["layout", "boundaries"], video_id: str, *, wait: bool = False
) -> QueuedAnswer:
    """Start a stage that waits for a run. What fails here, a sensor starts seconds later.

    With ``wait``, the run is looked for a little longer if another process is just creating it.
    """
    if parts.starter is None:
        return QueuedAnswer(run_id=None, priority=0)
    start = parts.starter.start_layout if stage == "layout" else parts.starter.start_captions
    deadline = time.monotonic() + (_WAIT_SECONDS if wait else 0)
    while True:
        try:
            started: Started = start(video_id)
        except CaptionAccError as error:
            _log.warning("the %s of video %s is left to the sensor: %s", stage, video_id, error)
            return QueuedAnswer(run_id=None, priority=0)
        if started.outcome != "waiting" or time.monotonic() >= deadline:
            return QueuedAnswer(run_id=started.run_id, priority=started.priority)
        time.sleep(_LOOK_SECONDS)
