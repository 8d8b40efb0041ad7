"""Captions that are nearly alike, one right after the other, with a logo on their line."""

import pytest

from benchmarks.neighbours import make_clip, separated, with_logo
from benchmarks.pipeline import run_pipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory):
    """The clip's true captions, and those that the pipeline found in it."""
    folder = tmp_path_factory.mktemp("neighbours")
    truth = make_clip(folder / "neighbours.mp4")
    return truth, run_pipeline(folder / "neighbours.mp4", folder / "bucket")


def test_at_least_22_of_24_neighbours_are_separated_with_their_own_text(neighbours):
    truth, found = neighbours
    assert len(truth) == 24
    assert separated(truth, found) >= 22


def test_the_logo_is_in_no_caption(neighbours):
    assert with_logo(neighbours[1]) == 0
