"""The generator variants of the functions: steps as they happen, then how the call ended.

A call yields ``{"progress": percent, "message": text}`` and ends with ``{"status": "completed", …}``, which
has the fields of the result, or with ``{"status": "failed", "error": {"type", "message", "retryable"}}``. It
never raises, so that a caller who streams sees every end in one form. Modal neither keeps nor repeats a
stream: who leaves it ends the call.
"""

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from modal_gpu.contracts import READY
from modal_gpu.deployment.calls import Keywords, read_call
from modal_gpu.deployment.wire import Container, Work, described, done, without_secrets
from modal_gpu.errors import CaptionAccError

Item = dict[str, Any]


class _LeftError(Exception):
    """The caller no longer reads."""


def stream(
    function: str, given: Keywords, work: Work, open_container: Callable[[], Container]
) -> Iterator[Item]:
    """Yield a call's steps, at most one for each percent of a stage, and its end. See the module."""
    items: SimpleQueue[Item] = SimpleQueue()
    left = threading.Event()
    last: list[tuple[str, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        if left.is_set():
            raise _LeftError
        if stage == READY:
            return  # said to those who read parts of the results before the end, not a step of the work
        percent = 100 * min(done, total) // total if total else 100
        if last != [(stage, percent)]:
            last[:] = [(stage, percent)]
            items.put({"progress": percent, "message": f"{stage} {done} of {total}"})

    def run() -> None:
        items.put(_end(lambda: done(read_call(function, given), open_container(), work, progress)))

    yield {"progress": 0, "message": "starting"}
    thread = threading.Thread(target=run, name="stream", daemon=True)
    thread.start()
    try:
        while "status" not in (item := items.get()):
            yield item
        yield item
    finally:
        left.set()
        thread.join()


def _end(work: Callable[[], Any]) -> Item:
    try:
        result = work()
    except _LeftError:
        return {}  # nobody reads it
    except CaptionAccError as error:
        return {"status": "failed", "error": described(error)}
    except Exception as error:
        sys.stderr.write(without_secrets(traceback.format_exc()))
        message = without_secrets(str(error))
        return {
            "status": "failed",
            "error": {"type": type(error).__name__, "message": message, "retryable": False},
        }
    return (
        {"results": result, "status": "completed"}
        if isinstance(result, list)
        else {**result, "status": "completed"}
    )
