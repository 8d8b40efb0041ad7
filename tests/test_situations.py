"""The benchmark of situations: its arithmetic, its drawing, and a few short clips through the pipeline."""

import itertools

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.metrics import Caption, figures
from benchmarks.situations.__main__ import extracted, matched, zones
from benchmarks.situations.choice import chosen, names
from benchmarks.situations.drawing import Layer, MissingGlyphError, check_glyphs
from benchmarks.situations.model import Drawn, Expected, Look, Place, beginning

BELOW = [Expected(1.0, 2.0, "one"), Expected(3.0, 4.0, "two")]
ABOVE = [Expected(1.5, 2.5, "eins", zone=1), Expected(3.5, 4.5, "zwei", zone=1)]


def found(expected: list[Expected], late: float = 0.0) -> list[Caption]:
    return [Caption(one.start + late, one.end + late, one.text) for one in expected]


def test_a_perfect_result_of_two_zones_is_perfect_in_any_order():
    for result in ([found(BELOW), found(ABOVE)], [found(ABOVE), found(BELOW)]):
        quality = figures(matched([*BELOW, *ABOVE], result))
        assert (quality.truth, quality.found, quality.invented, quality.both_ends) == (4, 4, 0, 4)
        assert quality.exact_text == 4


def test_a_zone_that_was_not_found_is_missed_entirely():
    matching = matched([*BELOW, *ABOVE], [found(BELOW)])
    assert [caption.text for caption in matching.missed] == ["eins", "zwei"]
    assert not matching.invented


def test_a_zone_that_nobody_drew_is_invented_entirely():
    matching = matched(BELOW, [found(BELOW), found(ABOVE)])
    assert [caption.text for caption in matching.invented] == ["eins", "zwei"]
    assert not matching.missed


def test_captions_of_one_zone_are_never_matched_with_those_of_two_zones_of_the_truth():
    """Both zones of the truth overlap one found zone; it counts for the one that it fits best."""
    matching = matched([*BELOW, *ABOVE], [found(ABOVE)])
    assert len(matching.pairs) == 2 and len(matching.missed) == 2


def test_an_end_more_than_a_tenth_of_a_second_late_counts_as_wrong():
    assert figures(matched(BELOW, [found(BELOW, late=0.1)])).both_ends == 2
    assert figures(matched(BELOW, [found(BELOW, late=0.12)])).both_ends == 0


def test_the_truth_of_each_zone_keeps_its_order():
    assert [[caption.text for caption in zone] for zone in zones([*BELOW, *ABOVE])] == [
        ["one", "two"],
        ["eins", "zwei"],
    ]


@pytest.mark.parametrize("name", names())
def test_every_situation_is_consistent(name: str):
    """Captions lie inside the clip, start and end on frames, and those of one zone never overlap."""
    (situation,) = chosen([name])
    assert situation.expected and situation.shots[0].start == 0
    assert [shot.start for shot in situation.shots] == sorted(shot.start for shot in situation.shots)
    for one in (*situation.expected, *situation.drawn):
        assert 0 <= one.start < one.end <= situation.seconds
        for at in (one.start, one.end):
            assert at * situation.rate == pytest.approx(round(at * situation.rate), abs=1e-6)
    if name != "rolling_up":  # two of its lines are on screen at once
        for zone in zones(situation.expected):
            ordered = sorted(zone, key=lambda caption: caption.start_s)
            assert all(a.end_s <= b.start_s + 1e-9 for a, b in itertools.pairwise(ordered))


@pytest.mark.parametrize("name", names())
def test_every_text_is_drawn_in_a_font_that_has_its_glyphs(name: str):
    (situation,) = chosen([name])
    for one in situation.drawn:
        check_glyphs(one.text, one.look.font)


def test_a_text_is_never_drawn_without_its_glyphs():
    with pytest.raises(MissingGlyphError, match="the font aileron has no ó, Ł, ź of 'Łódź'"):
        Layer(Drawn(0.0, 1.0, "Łódź", look=Look(font="aileron")), 320, 180)


def test_text_is_drawn_from_its_first_frame_to_the_one_before_its_end():
    layer = Layer(Drawn(0.4, 0.8, "HELLO", Place(0.7), Look(0.3)), 320, 180)
    shown = []
    for index in range(30):
        frame = np.zeros((180, 320, 3), np.uint8)
        layer.onto(frame, index, 25)
        shown.append(bool(frame.max() > 200))
    assert [index for index, is_shown in enumerate(shown) if is_shown] == list(range(10, 20))


def test_rising_text_enters_below_and_leaves_above():
    layer = Layer(Drawn(0.0, 8.0, "Camera", Place(1.2), Look(0.1, outline=0.0), rise=40.0), 320, 180)
    middles = []
    for index in range(0, 200, 10):
        frame = np.zeros((180, 320, 3), np.uint8)
        layer.onto(frame, index, 25)
        rows = np.flatnonzero(frame.max(axis=(1, 2)))
        if len(rows):
            middles.append(rows.mean())
    assert middles == sorted(middles, reverse=True)
    assert middles[0] > 150 and middles[-1] < 30


def test_the_beginning_of_a_situation_has_its_first_captions():
    (situation,) = chosen(["two_places"])
    short = beginning(situation, 3)
    assert [one.text for one in short.expected] == [
        one.text for one in sorted(situation.expected, key=lambda one: one.start)[:3]
    ]
    assert short.seconds == max(one.end for one in short.expected) + 1


def test_an_unknown_name_is_said_so():
    import typer

    from benchmarks.situations.__main__ import main

    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, ["no_such_scene"])
    assert result.exit_code == 2 and "no such situation" in result.output


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "captions"),
    [
        ("tall", 4),
        ("whole_picture_is_the_strip", 5),
        ("similar_after_gaps", 5),
        ("many_cuts", 5),
    ],
)
def test_the_beginning_of_a_clip_comes_out_exactly(tmp_path, name: str, captions: int):
    (situation,) = chosen([name])
    short = beginning(situation, captions)
    quality = figures(matched(short.expected, extracted(short, tmp_path)))
    assert (quality.found, quality.invented, quality.both_ends) == (captions, 0, captions)
    assert max(quality.start_error_ms.largest, quality.end_error_ms.largest) < 45


def test_texts_of_a_model_for_their_language_are_not_taken_for_the_wheels(tmp_path, monkeypatch):
    """As in the graph: the wheel's model would miss letters of theirs."""
    from benchmarks import pipeline
    from benchmarks.situations.texts import VIETNAMESE
    from modal_gpu.contracts import CaptionOcrResult, CropRegion
    from modal_gpu.databases import captions as stored
    from modal_gpu.functions.settings import ComputeSettings

    def read(request, store, settings):
        return [
            CaptionOcrResult(VIETNAMESE[c.caption_id - 1], 0.95, 1, c.caption_id) for c in request.captions
        ]

    monkeypatch.setattr(pipeline, "generate_caption_ocr", read)
    monkeypatch.setattr(pipeline.Steps, "_regions", lambda self: {0: CropRegion(0, 0.8, 1, 1)})
    monkeypatch.setattr(
        pipeline.Steps, "_decoded", lambda self: {0: type("Decoded", (), {"frame_count": 600})}
    )
    waiting = [
        stored.Caption(50 * k, 50 * k + 30, 5.0 * k, 5.0 * k + 3, id=1 + k, ocr_status="queued")
        for k in range(len(VIETNAMESE))
    ]
    for languages, texts in (((), [""] * len(VIETNAMESE)), (("vi",), [*VIETNAMESE])):
        steps = pipeline.Steps(tmp_path / "v.mp4", tmp_path, ComputeSettings(ocr_languages=languages))
        assert [c.ocr_text or "" for c in steps.read_captions(waiting)] == texts
