"""Progress of a call reaches the log and the catalogue, and never holds up the call."""

import threading

import pytest

from captionacc_dagster.resources.catalog import CatalogUnavailableError
from captionacc_dagster.runs import live_progress
from captionacc_dagster.runs.live_progress import percent_of
from modal_gpu.contracts import READY


class Catalogue:
    """Takes progress; ``blocked`` holds it up."""

    def __init__(self) -> None:
        self.taken: list[tuple] = []
        self.announced: list[tuple] = []
        self.wrote, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.error: Exception | None = None

    def report_progress(self, *report) -> bool:
        self.go.wait(10)
        if self.error:
            raise self.error
        self.taken.append(report)
        self.wrote.set()
        return True

    def announce_captions(self, *of) -> bool:
        self.announced.append(of)
        self.wrote.set()
        return True


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    monkeypatch.setattr(live_progress, "_WRITE_SECONDS", 0.01)
    return Catalogue()


def test_steps_are_written_with_the_percentage_of_the_call(catalogue):
    lines: list[str] = []
    with live_progress.live_progress(lines.append, catalogue, "v", "layout", "run") as progress:
        assert catalogue.wrote.wait(10)
        for done in (5, 10):
            catalogue.wrote.clear()
            progress("frames", done, 10)
            assert catalogue.wrote.wait(10)
    assert catalogue.taken == [
        ("v", "layout", "run", 10, "download", 0, 0),
        ("v", "layout", "run", 60, "frames 5 of 10", 5, 10),
        ("v", "layout", "run", 90, "upload", 10, 10),
    ]
    assert lines == ["progress: frames 5/10", "progress: frames 10/10"]


def test_the_merge_of_parts_takes_no_percentage_back(catalogue):
    with live_progress.live_progress(lambda line: None, catalogue, "v", "boundaries", "run") as progress:
        for step in (("strips", 9, 10), ("merge", 0, 1)):
            catalogue.wrote.clear()
            progress(*step)
            assert catalogue.wrote.wait(10)
            while catalogue.taken[-1][4] == "download":
                assert catalogue.wrote.wait(10)
    percents = [report[3] for report in catalogue.taken]
    assert percents == sorted(percents) and catalogue.taken[-1][3:5] == (84, "merge 0 of 1")


def test_a_slow_catalogue_gets_the_last_step_only(catalogue):
    catalogue.go.clear()
    with live_progress.live_progress(lambda line: None, catalogue, "v", "text", "run") as progress:
        for done in range(100):
            progress("captions", done, 100)
        catalogue.go.set()
        while not any(report[5] == 99 for report in catalogue.taken):
            assert catalogue.wrote.wait(10)
            catalogue.wrote.clear()
    assert len(catalogue.taken) <= 3


def test_what_can_be_read_is_announced_once_and_not_logged(catalogue):
    lines: list[str] = []
    with live_progress.live_progress(lines.append, catalogue, "v", "boundaries", "run") as progress:
        for ready in (1, 2):
            while len(catalogue.announced) < ready:
                # Progress repeats its last step while nothing happens.
                progress(READY, ready, 4)
                catalogue.wrote.wait(0.01)
        progress("strips", 1, 2)
    assert catalogue.announced == [("v", "boundaries", "run")] * 2
    assert lines == ["progress: strips 1/2"]


def test_a_failing_catalogue_fails_nothing(catalogue):
    catalogue.error = CatalogUnavailableError("gone")
    with live_progress.live_progress(lambda line: None, catalogue, "v", "text", "run") as progress:
        progress("captions", 1, 2)
    assert catalogue.taken == []


@pytest.mark.parametrize(
    ("done", "total", "percent"), [(0, 0, 90), (0, 10, 30), (5, 10, 60), (10, 10, 90), (11, 10, 90)]
)
def test_the_percentage_of_the_work(done, total, percent):
    assert percent_of(done, total) == percent
