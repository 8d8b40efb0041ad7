"""The sample video shows exactly what its truth says."""

import sys
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pysubs2
import pytest

from benchmarks.metrics import Caption, evaluate
from benchmarks.quality import read_captions
from captionacc_dagster.demo.sample import CAPTIONS, DURATION, SampleCaption, make_sample
from tests.extract_command import extracted
from tests.line_fixtures import Line

SIZE = (480, 270)


def frames(path: Path) -> list[np.ndarray]:
    """All frames as grey pictures."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``with.mp4`` with its truth, and ``without.mp4``: the same background and logo, no captions."""
    folder = tmp_path_factory.mktemp("sample")
    make_sample(folder / "with.mp4", folder / "with.srt", captions=MIXED, duration=6, size=SIZE)
    make_sample(folder / "without.mp4", captions=(), duration=6, size=SIZE)
    return folder


MIXED = (
    SampleCaption(0.4, 1.2, "Step 1 of 3"),
    SampleCaption(1.2, 2.0, "Step 2 of 3"),
    SampleCaption(2.4, 3.2, "yellow", "yellow"),
    SampleCaption(3.6, 4.4, "in a box\non two lines", "box"),
    SampleCaption(4.8, 6.0, "and it fades", "fade"),
)


def test_a_caption_is_on_screen_exactly_when_the_truth_says(folder: Path) -> None:
    pairs = zip(frames(folder / "with.mp4"), frames(folder / "without.mp4"), strict=True)
    seen = [np.mean(np.abs(a.astype(int) - b)[SIZE[1] * 3 // 4 :] > 20) > 0.002 for a, b in pairs]
    expected = [any(c.start <= i / 25 < c.end for c in MIXED) for i in range(150)]
    assert seen == expected


def test_neighbours_without_a_gap_change_between_two_frames(folder: Path) -> None:
    pictures = [f[SIZE[1] * 4 // 5 :].astype(int) for f in frames(folder / "with.mp4")[25:35]]
    changes = [np.mean(np.abs(a - b) > 60) for a, b in pairwise(pictures)]
    assert int(np.argmax(changes)) + 26 == 30  # 1.2 s


def test_all_styles_share_one_band_and_nothing_else_differs(folder: Path) -> None:
    """The last line's baseline is the same for all: rows under it and above two lines are untouched."""
    pairs = zip(frames(folder / "with.mp4"), frames(folder / "without.mp4"), strict=True)
    touched = np.max([np.mean(np.abs(a.astype(int) - b) > 60, axis=1) > 0.01 for a, b in pairs], axis=0)
    rows = np.flatnonzero(touched) / SIZE[1]
    assert 0.72 < rows.min() < rows.max() < 0.97


def test_the_truth_file_is_what_the_function_returns(folder: Path, tmp_path: Path) -> None:
    shown = make_sample(tmp_path / "a.mp4", tmp_path / "a.srt", duration=4, size=(64, 64))
    events = pysubs2.load(str(tmp_path / "a.srt"))
    written = [(e.start / 1000, e.end / 1000, e.plaintext) for e in events]
    assert written == [(c.start, c.end, c.text) for c in shown]
    # The second caption is cut off by the end of the video, the third has not begun.
    assert [(c.start, c.end) for c in shown] == [(0.84, 2.6), (2.6, 4.0)]


def test_the_same_arguments_give_the_same_bytes_and_another_seed_another_picture(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_sample(tmp_path / name, duration=2, seed=seed)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_captions_fall_on_frames_at_any_frame_rate(tmp_path: Path) -> None:
    shown = make_sample(tmp_path / "a.mp4", captions=MIXED, duration=6, size=(64, 64), fps=30)
    for caption in shown:
        assert caption.start * 30 == pytest.approx(round(caption.start * 30))
    assert len(frames(tmp_path / "a.mp4")) == 180


def test_the_full_sample_holds_what_the_demo_promises() -> None:
    assert 10 <= len(CAPTIONS) <= 14
    assert {c.style for c in CAPTIONS} == {"outline", "yellow", "box", "fade"}
    neighbours = list(pairwise(CAPTIONS))
    assert all(a.end <= b.start for a, b in neighbours)
    assert sum(a.end == b.start for a, b in neighbours) >= 3
    assert any(a.end < b.start for a, b in neighbours)
    assert any("\n" in c.text for c in CAPTIONS)
    assert any(c.start < 21.2 < c.end for c in CAPTIONS)  # across a cut
    assert CAPTIONS[-1].end == DURATION
    for caption in CAPTIONS:
        assert caption.start * 25 == pytest.approx(round(caption.start * 25))


@pytest.mark.parametrize("bad", [{"size": (65, 64)}, {"size": (32, 32)}, {"duration": 0}])
def test_impossible_samples_are_refused(tmp_path: Path, bad: dict) -> None:
    with pytest.raises(ValueError, match="sample"):
        make_sample(tmp_path / "a.mp4", **bad)
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.slow
def test_the_graph_reads_the_demos_sample_without_errors(tmp_path: Path, line: Line, monkeypatch):
    """This is a newcomer's first impression; it needs no footage beyond the project's own, and no PyTorch."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    video, subtitles = tmp_path / "sample.mp4", tmp_path / "graph.srt"
    truth = [Caption(c.start, c.end, c.text) for c in make_sample(video)]
    subtitles.write_bytes(line.subtitles_of(video))
    quality = evaluate(truth, read_captions(subtitles))
    assert (quality.found, quality.invented, quality.exact_text) == (len(truth), 0, len(truth))
    # The same in one process, without Dagster and without chunks.
    assert extracted(video, tmp_path / "out") == subtitles.read_bytes()
