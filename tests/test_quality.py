"""The quality figures: what counts as found, and that no error of a caption goes uncounted."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks import quality as quality_module
from benchmarks.metrics import Caption, evaluate, iou, match, normalised
from benchmarks.quality import read_captions

TRUTH = [
    Caption(1.0, 3.0, "Step 1 of 3"),
    Caption(3.0, 5.0, "Step 2 of 3"),
    Caption(6.0, 8.0, "two\nlines"),
]


def moved(caption: Caption, start: float = 0.0, end: float = 0.0, text: str | None = None) -> Caption:
    return Caption(caption.start_s + start, caption.end_s + end, caption.text if text is None else text)


@st.composite
def tracks(draw: st.DrawFn) -> list[Caption]:
    """Captions of one band: they follow each other, some without a gap."""
    captions, at = [], 0
    for _ in range(draw(st.integers(0, 8))):
        start = at + draw(st.integers(0, 40))
        at = start + draw(st.integers(1, 100))
        captions.append(Caption(start / 25, at / 25, draw(st.text("ab 字\n", min_size=1, max_size=6))))
    return captions


@given(tracks())
def test_a_perfect_result_is_perfect(track: list[Caption]) -> None:
    figures = evaluate(track, track)
    n = len(track)
    assert (figures.found, figures.both_ends, figures.exact_text) == (n, n, n)
    assert (figures.mistimed, figures.missed, figures.invented, figures.cer) == (0, 0, 0, 0)
    assert figures.found_share == 1
    assert figures.start_error_ms.largest == figures.end_error_ms.largest == 0


@given(tracks(), tracks())
def test_every_caption_is_counted_exactly_once(truth: list[Caption], extracted: list[Caption]) -> None:
    matching = match(truth, extracted)
    assert sorted([*(p.truth for p in matching.pairs), *matching.missed], key=repr) == sorted(truth, key=repr)
    assert sorted([*(p.extracted for p in matching.pairs), *matching.invented], key=repr) == sorted(
        extracted, key=repr
    )


@given(tracks(), tracks(), st.integers(0, 100_000))
@example([Caption(0.0, 2.4, "a")], [Caption(0.0, 0.04, "a"), Caption(0.04, 0.52, "a")], 64)  # an IoU of 0.2
def test_the_figures_do_not_depend_on_when_the_video_starts(
    truth: list[Caption], extracted: list[Caption], shift: int
) -> None:
    here = evaluate(truth, extracted)
    later = evaluate([moved(c, shift, shift) for c in truth], [moved(c, shift, shift) for c in extracted])
    for name in ("truth", "extracted", "missed", "invented", "exact_text", "cer"):
        assert getattr(here, name) == pytest.approx(getattr(later, name))


@given(tracks(), tracks())
def test_the_figures_do_not_depend_on_the_order_of_the_input(
    truth: list[Caption], extracted: list[Caption]
) -> None:
    assert evaluate(truth[::-1], extracted[::-1]) == evaluate(truth, extracted)


@given(tracks(), tracks())
def test_swapping_the_sides_swaps_missed_and_invented(truth: list[Caption], extracted: list[Caption]) -> None:
    one, other = evaluate(truth, extracted), evaluate(extracted, truth)
    assert (one.missed, one.invented, one.found) == (other.invented, other.missed, other.found)


@given(tracks(), tracks())
def test_no_other_pairing_finds_more(truth: list[Caption], extracted: list[Caption]) -> None:
    """An IoU of 0.8 leaves no room for a second candidate, so counting candidates is an independent check."""
    findable = sum(any(iou(a, b) >= 0.8 for b in extracted) for a in truth)
    assert evaluate(truth, extracted).found == findable


def test_times_a_little_off_are_found_and_measured() -> None:
    figures = evaluate(TRUTH, [moved(TRUTH[0], -0.04, 0.08), moved(TRUTH[1], 0.08, 0.2), moved(TRUTH[2])])
    assert (figures.found, figures.both_ends) == (3, 2)
    assert figures.start_error_ms.median == pytest.approx(40)
    assert figures.start_error_ms.largest == pytest.approx(80)
    assert figures.start_error_ms.bias == pytest.approx(0)
    assert figures.end_error_ms.median == pytest.approx(80)
    assert figures.end_error_ms.p95 == pytest.approx(80 + 0.9 * 120)
    assert figures.cer == 0


def test_exactly_a_tenth_of_a_second_is_within_it() -> None:
    assert evaluate(TRUTH, [moved(c, -0.1, 0.1) for c in TRUTH]).both_ends == 3


def test_an_overlap_below_the_threshold_is_mistimed_and_its_errors_count() -> None:
    figures = evaluate(TRUTH[:1], [moved(TRUTH[0], 0.0, -0.8)])  # IoU 0.6
    assert (figures.found, figures.mistimed, figures.missed, figures.invented) == (0, 1, 0, 0)
    assert figures.end_error_ms.median == pytest.approx(800)
    assert figures.end_error_ms.bias == pytest.approx(-800)


def test_the_threshold_itself_is_found() -> None:
    assert evaluate([Caption(0, 10, "a")], [Caption(0, 8, "a")]).found == 1
    assert evaluate([Caption(0, 10, "a")], [Caption(0, 7.99, "a")]).found == 0


def test_a_brief_touch_is_a_miss_and_an_invention() -> None:
    figures = evaluate(TRUTH[2:], [Caption(7.9, 12.0, "logo")])
    assert (figures.mistimed, figures.missed, figures.invented) == (0, 1, 1)


def test_merged_neighbours_are_one_caption_missed() -> None:
    figures = evaluate(TRUTH, [Caption(1.0, 5.0, "Step 1 of 3"), TRUTH[2]])
    assert (figures.found, figures.mistimed, figures.missed, figures.invented) == (1, 1, 1, 0)


def test_a_split_caption_is_one_caption_invented() -> None:
    figures = evaluate(TRUTH[:1], [Caption(1.0, 2.8, "Step 1 of 3"), Caption(2.8, 3.0, "Step 1 of 3")])
    assert (figures.found, figures.invented) == (1, 1)
    assert figures.cer == pytest.approx(1.0)


def test_the_error_rate_counts_wrong_missing_and_invented_characters() -> None:
    extracted = [moved(TRUTH[0], text="Step 7 of 3"), TRUTH[2], Caption(20, 21, "ghost")]
    figures = evaluate(TRUTH, extracted)
    assert figures.cer == pytest.approx((1 + len("Step 2 of 3") + len("ghost")) / (11 + 11 + 9))
    assert figures.exact_text == 1


def test_lost_spaces_are_text_errors_but_line_breaks_and_repeated_spaces_are_not() -> None:
    assert evaluate(TRUTH[2:], [moved(TRUTH[2], text=" two  lines\n")]).exact_text == 1
    assert evaluate(TRUTH[2:], [moved(TRUTH[2], text="twolines")]).cer == pytest.approx(1 / 9)


def test_composed_and_decomposed_letters_are_the_same_text() -> None:
    assert normalised("Cafe\u0301") == normalised("Café")


def test_captions_at_the_same_time_are_paired_by_text() -> None:
    truth = [Caption(0, 1, "top line"), Caption(0, 1, "bottom line")]
    figures = evaluate(truth, [Caption(0, 1.02, "bottom line"), Caption(0, 1.02, "top line")])
    assert (figures.found, figures.exact_text) == (2, 2)


def test_the_same_caption_extracted_twice_is_invented_once() -> None:
    figures = evaluate(TRUTH, [*TRUTH, TRUTH[1]])
    assert (figures.found, figures.invented) == (3, 1)


def test_nothing_expected_and_nothing_extracted_is_perfect() -> None:
    assert evaluate([], []).found_share == 1
    figures = evaluate([], [Caption(0, 1, "ghost")])
    assert (figures.invented, figures.cer) == (1, 5)


SRT = "1\n00:00:01,000 --> 00:00:03,000\n<i>Step</i> 1 of 3\n\n2\n00:00:06,000 --> 00:00:08,000\ntwo\nlines\n"
VTT = "WEBVTT\n\n00:01.000 --> 00:03.000\nStep 1 of 3\n\n00:06.000 --> 00:08.000\ntwo\nlines\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"truth.srt": SRT, "same.vtt": VTT, "empty.srt": "", "page.srt": "<html>hello</html>"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return {name: tmp_path / name for name in contents}


def test_subtitle_files_are_read_without_their_formatting(files: dict[str, Path]) -> None:
    expected = [Caption(1.0, 3.0, "Step 1 of 3"), Caption(6.0, 8.0, "two\nlines")]
    assert read_captions(files["truth.srt"]) == read_captions(files["same.vtt"]) == expected
    assert read_captions(files["empty.srt"]) == []
    with pytest.raises(ValueError, match="not a subtitle file"):
        read_captions(files["page.srt"])


def run(*arguments: object):
    app = quality_module.typer.Typer()
    app.command()(quality_module.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_a_table_or_json(files: dict[str, Path]) -> None:
    arguments = ("some.mp4", "--truth", files["truth.srt"], "--captions", files["same.vtt"])
    table = run(*arguments)
    assert table.exit_code == 0, table.output
    assert "100.0%" in table.output
    report = json.loads(run(*arguments, "--json").stdout)
    assert (report["found"], report["truth"], report["cer"]) == (2, 2, 0)


def test_the_command_lists_what_differs(files: dict[str, Path]) -> None:
    result = run("v.mp4", "--truth", files["truth.srt"], "--captions", files["empty.srt"], "--details")
    assert "Step 1 of 3" in result.output
    assert result.output.count("missed") == 3  # the figure, and a row for each


def test_a_file_of_another_kind_is_refused_with_an_explanation(files: dict[str, Path]) -> None:
    result = run("v.mp4", "--truth", files["page.srt"], "--captions", files["same.vtt"])
    assert result.exit_code == 2
    assert "not a subtitle file" in re.sub(r"[\s│]+", " ", result.output)
