"""Growing and rolling captions become one cue a sentence or line, and nothing is lost."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.growth import cues, text_lines
from modal_gpu.captions.subtitles import shown, to_rows, to_srt
from modal_gpu.databases.captions import Caption


def states(*texts, start=10, frames=4, first_id=1, **changes):
    """Return captions in direct succession."""
    return [
        Caption(
            start + k * frames,
            start + (k + 1) * frames,
            (start + k * frames) / 10,
            (start + (k + 1) * frames) / 10,
            id=first_id + k,
            ocr_text=text,
            ocr_confidence=0.99,
            ocr_status="completed",
            **changes,
        )
        for k, text in enumerate(texts)
    ]


def folded(captions):
    return [(c.caption.start_index, c.caption.end_index, c.caption.best_text) for c in cues(captions)]


def words(sentence):
    parts = sentence.split()
    return [" ".join(parts[:count]) for count in range(1, len(parts) + 1)]


def test_a_sentence_that_grows_word_by_word_is_one_cue():
    grown = states(*words("Good evening and welcome."))
    assert folded(grown) == [(10, 26, "Good evening and welcome.")]
    assert [row["state_ids"] for row in to_rows(grown)] == [[1, 2, 3, 4]]


def test_growing_captions_can_be_kept_apart():
    assert len(shown(states(*words("Good evening and welcome.")), growing="keep")) == 4


def test_lines_that_roll_up_are_one_cue_each_until_they_leave():
    rolled = states("One goes.", "One goes.\nTwo comes.", "Two comes.\nThree follows.", "Three follows.")
    assert folded(rolled) == [(10, 18, "One goes."), (14, 22, "Two comes."), (18, 26, "Three follows.")]
    assert [(a, b) for a, b, _ in shown(rolled)] == [(1000, 1800), (1400, 2200), (1800, 2600)]
    assert len({row["id"] for row in to_rows(rolled)}) == 3


def test_lines_that_grow_while_they_roll_up():
    typed = states(
        "We begin", "We begin here.", "We begin here.\nThen", "We begin here.\nThen we", "Then we\nstop."
    )
    assert folded(typed) == [(10, 26, "We begin here."), (18, 30, "Then we"), (26, 30, "stop.")]


def test_a_sentence_that_is_wrapped_again_as_it_grows():
    assert folded(states("Good evening and", "Good\nevening and welcome")) == [
        (10, 18, "Good\nevening and welcome")
    ]


@pytest.mark.parametrize(
    "texts",
    [
        ("Good evenlng and", "Good evening and welcome"),
        ("Good evening, and", "Good evening. and welcome"),
        ("Goodevening and", "Good evening and welcome"),
        ("Good evening an", "Good evening and welcome"),
    ],
    ids=["letter", "punctuation", "space", "half a word"],
)
def test_small_differences_of_uncertain_readings_do_not_stop_growth(texts):
    first, second = states(*texts)
    assert [text for _, _, text in folded([replace(first, ocr_confidence=0.9), second])] == [texts[-1]]


@pytest.mark.parametrize("confidence", [0.5, 0.99])
def test_similar_texts_of_the_same_length_stay_apart(confidence):
    first, second = states("Jim is late again.", "Tim is late again.")
    assert len(folded([replace(first, ocr_confidence=confidence), second])) == 2


def test_chinese_grows_by_characters():
    assert folded(states("今天", "今天天气", "今天天气很好。", frames=9)) == [(10, 37, "今天天气很好。")]


@pytest.mark.parametrize(
    "texts",
    [
        ("lived in", "the lighthouse", "for years"),
        ("the", "they", "the man"),
        ("Step 1", "Step 10"),
        ("Step 1 of 9: wait.", "Step 2 of 9: wait."),
        ("Room 21 is on your", "Room 214 is on your left."),
        ("He is here.", "He is there now."),
        ("Go", "Gone"),
    ],
)
@pytest.mark.parametrize("frames", [4, 12], ids=["brief", "long"])
def test_captions_that_replace_each_other_stay_apart(texts, frames):
    found = folded(states(*texts, frames=frames))
    if texts != ("the", "they", "the man"):
        assert [text for _, _, text in found] == list(texts)
    assert found[0][2] == texts[0]


def test_a_gap_between_two_captions_ends_growth():
    first, second = states("Wait", "Wait for me.")
    apart = replace(second, start_index=second.start_index + 2)
    assert len(cues([first, apart])) == 2
    assert len(cues([first, second])) == 1


def test_zones_grow_independently():
    below, above = states(*words("Good evening all.")), states(*words("And here too."), start=12, first_id=9)
    found = folded([*below, *(replace(one, zone=1) for one in above)])
    assert found == [(10, 22, "Good evening all."), (12, 24, "And here too.")]


def test_a_confirmed_caption_is_a_cue_of_its_own():
    first, second, third, fourth = states(*words("Good evening and welcome."))
    found = folded([first, second, replace(third, state="confirmed"), fourth])
    assert [text for _, _, text in found] == ["Good evening", "Good evening and", "Good evening and welcome."]


def test_a_persons_text_of_the_finished_sentence_is_kept():
    grown = states(*words("Good evening and welcome"))
    grown[-1] = replace(grown[-1], text="Good evening and welcome!")
    [cue] = cues(grown)
    assert (cue.caption.best_text, cue.caption.text is not None) == ("Good evening and welcome!", True)
    assert "welcome!" in to_srt(grown)


def test_of_several_readings_of_a_line_the_most_confident_counts():
    first, second, third = states("We go on.", "We qo on.\nAll of us.", "All of us.\nNow.")
    rolled = [first, replace(second, ocr_confidence=0.6), third]
    assert [text for _, _, text in folded(rolled)] == ["We go on.", "All of us.", "Now."]


@st.composite
def displays(draw):
    """Draw states of a display that grows, rolls, replaces text and pauses; some of people."""
    found, at, visible = [], draw(st.integers(0, 20)), []
    for number in range(draw(st.integers(1, 14))):
        word = draw(st.sampled_from(["alpha", "bravo", "delta", "golf", "hotel", "kilo", "lima"]))
        kind = draw(st.sampled_from(["grow", "line", "roll", "replace", "pause", "shrink"]))
        if kind == "grow" and visible:
            visible = [*visible[:-1], f"{visible[-1]} {word}"]
        elif kind == "line" and len(visible) < 3:
            visible = [*visible, word]
        elif kind == "roll" and visible:
            visible = [*visible[1:], f"{word} {number}"]
        elif kind == "shrink" and len(visible) > 1:
            visible = visible[1:]
        else:
            visible = [word]
        at += draw(st.integers(1, 9)) if kind == "pause" else 0
        frames = draw(st.integers(1, 25))
        found += states("\n".join(visible), start=at, frames=frames, first_id=number + 1)
        if draw(st.integers(0, 7)) == 0:
            found[-1] = replace(found[-1], text="\n".join(visible), state="confirmed")
        at += frames
    return found


def covered(captions):
    return {index for c in captions for index in range(c.start_index, c.end_index)}


@given(displays())
def test_folding_loses_no_time(captions):
    found = cues(captions)
    assert covered(c.caption for c in found) == covered(captions)
    for cue in found:
        assert covered([cue.caption]) == covered(cue.states)


@given(displays())
def test_folding_loses_no_finished_text(captions):
    """Each line of each state is in a cue that is shown with it, perhaps grown further."""
    found = cues(captions)
    for state in captions:
        for line in text_lines(state.best_text):
            assert any(line in cue.caption.best_text for cue in found if state in cue.states)


@given(displays())
def test_every_state_is_in_a_cue_and_ids_are_unique(captions):
    found = cues(captions)
    assert {state.id for cue in found for state in cue.states} == {c.id for c in captions}
    ids = [cue.caption.id for cue in found]
    assert len(ids) == len(set(ids))


@given(displays())
def test_order_is_kept(captions):
    found = [cue.caption.start_index for cue in cues(captions)]
    assert found == sorted(found)
    timed = shown(captions)
    assert all(a <= b for (a, _, _), (b, _, _) in pairwise(timed)) and all(a < b for a, b, _ in timed)


@given(displays())
def test_folding_twice_changes_nothing(captions):
    """Cues that do not overlap fold into themselves."""
    alone = [cue.caption for cue in cues(captions) if not cue.roll]
    assert [c.caption for c in cues(alone)] == alone
