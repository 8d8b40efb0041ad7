"""Calls side by side: their results and progress, and what the first one that fails does to the others."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from captionacc_dagster.resources.compute.calls import ComputeCall, run_calls
from modal_gpu.contracts import Progress
from modal_gpu.errors import BadVideoError, RemoteTimeoutError

CALLS = [ComputeCall("generate_caption_ocr", "t", "v", {"place": place}) for place in range(6)]


class Scripted:
    """A backend whose calls do what a test says, by place."""

    def __init__(self, act: Callable[[int, Progress], Any]) -> None:
        self._act = act
        self.ended: list[int] = []

    def call(self, call: ComputeCall, progress: Progress) -> Any:
        place = call.request["place"]
        try:
            return self._act(place, progress)
        except Exception:
            self.ended.append(place)
            raise


def test_results_come_in_the_order_of_the_calls_with_sums_of_their_progress():
    steps = []

    def act(place: int, progress: Progress) -> int:
        progress("strips", 10, 10)
        return place

    assert run_calls(Scripted(act), CALLS, 3, lambda *step: steps.append(step)) == list(range(6))
    assert steps[-1] == ("strips", 60, 60)
    assert all(total == 60 for _, _, total in steps)


def test_a_call_that_fails_ends_those_that_run_and_those_that_wait():
    running = threading.Barrier(2)

    def act(place: int, progress: Progress) -> None:
        running.wait(5)
        if place == 0:
            raise BadVideoError("the file is not a video")
        while True:
            progress("strips", 1, 10)
            threading.Event().wait(0.01)

    backend = Scripted(act)
    with pytest.raises(BadVideoError, match="not a video"):
        run_calls(backend, CALLS, 2)
    assert sorted(backend.ended) == [0, 1]


def test_after_a_time_out_those_that_run_may_end_and_no_other_begins():
    """Their results are paid for: a retry uses them and pays only for the rest."""
    running, begun, done = threading.Barrier(2), [], []

    def act(place: int, progress: Progress) -> int:
        begun.append(place)
        running.wait(5)
        if place == 0:
            raise RemoteTimeoutError("ran longer than the function may")
        for step in range(5):
            progress("strips", step, 10)
            threading.Event().wait(0.01)
        done.append(place)
        return place

    with pytest.raises(RemoteTimeoutError, match="ran longer"):
        run_calls(Scripted(act), CALLS, 2)
    assert sorted(begun) == [0, 1] and done == [1]


def test_another_error_beside_a_time_out_ends_the_rest():
    running = threading.Barrier(2)

    def act(place: int, progress: Progress) -> None:
        running.wait(5)
        raise RemoteTimeoutError("late") if place == 0 else BadVideoError("the file is not a video")

    with pytest.raises(BadVideoError):
        run_calls(Scripted(act), CALLS, 2)


def test_progress_that_raises_ends_all_calls():
    class LostError(Exception):
        pass

    def act(place: int, progress: Progress) -> None:
        while True:
            progress("strips", 1, 10)
            threading.Event().wait(0.01)

    def lost(stage: str, done: int, total: int) -> None:
        raise LostError

    backend = Scripted(act)
    with pytest.raises(LostError):
        run_calls(backend, CALLS, 3, lost)
    assert sorted(backend.ended) == [0, 1, 2]
