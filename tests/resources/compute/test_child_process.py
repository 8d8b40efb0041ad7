"""A call in a process of its own: its result, progress and errors, and its end."""

from functools import partial

import pytest

from captionacc_dagster.resources.compute.child_process import run_in_child
from modal_gpu.errors import BadVideoError, RemoteInterruptedError
from tests.resources.compute.child import child_work


def test_a_separate_process_returns_its_result_progress_and_errors():
    steps = []
    result = run_in_child(partial(child_work, "result"), "video v", lambda *step: steps.append(step))
    assert (result, steps) == ({"gzip": "1f8b"}, [("strips", 1, 2)])
    with pytest.raises(BadVideoError, match="not a video"):
        run_in_child(partial(child_work, "typed"), "video v", lambda *_: None)
    with pytest.raises(RemoteInterruptedError, match=r"video v: its process died \(exit status 3\)"):
        run_in_child(partial(child_work, "dies"), "video v", lambda *_: None)


def test_a_process_ends_when_its_caller_abandons_it():
    def lost(stage: str, done: int, total: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        run_in_child(partial(child_work, "forever"), "video v", lost)
    with pytest.raises(RuntimeError, match="KeyError"):
        run_in_child(partial(child_work, "bug"), "video v", lambda *_: None)
