"""After OCR: over-split captions are joined, empty ones go, people's captions stay."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.reconcile import comparable, reconcile
from modal_gpu.databases.captions import Caption


def read(start, end, ocr, **changes):
    values = {
        "id": start + 1,
        "ocr_status": "completed",
        "ocr_text": ocr,
        "ocr_confidence": 0.98,
        "confidence": 0.9,
    }
    return Caption(start, end, start / 10, end / 10, **values | changes)


def summary(captions):
    return [(c.start_index, c.end_index, c.best_text) for c in reconcile(captions)]


def test_neighbours_with_one_text_become_one_caption():
    joined = reconcile(
        [read(0, 10, "Hello there"), read(11, 20, "Hello  there"), read(20, 25, "hello there")]
    )
    assert len(joined) == 1
    assert (joined[0].id, joined[0].start_index, joined[0].end_index) == (1, 0, 25)
    assert (joined[0].start_seconds, joined[0].end_seconds) == (0.0, 2.5)
    assert joined[0].image_needs_regen


def test_step_1_and_step_2_stay_two_however_short():
    assert len(reconcile([read(0, 10, "Step 1"), read(10, 12, "Step 2"), read(12, 20, "Step 1")])) == 3


def test_one_text_again_after_a_pause_is_another_caption():
    assert len(reconcile([read(0, 10, "No."), read(13, 20, "No.")])) == 2


def test_a_half_faded_frame_is_joined_to_its_caption():
    fading = [read(0, 1, "Wheare wereyou las night?"), read(1, 20, "Where were you last night?")]
    assert summary(fading) == [(0, 20, "Where were you last night?")]


def test_a_frame_that_shows_a_part_of_the_next_caption_is_that_caption_fading_in():
    assert summary([read(0, 1, "an old city"), read(1, 30, "Now we look at an old city")]) == [
        (0, 30, "Now we look at an old city")
    ]
    # Longer than a fade, it is a caption of its own.
    assert len(reconcile([read(0, 5, "No"), read(5, 30, "No, thank you")])) == 2


def test_a_short_bad_reading_between_two_of_one_text_is_joined():
    captions = [
        read(0, 9, "Near over wizards."),
        read(9, 11, "Near ove ards."),
        read(11, 30, "Near over wizards."),
    ]
    assert summary(captions) == [(0, 30, "Near over wizards.")]


def test_long_texts_that_ocr_was_unsure_of_are_joined_when_nearly_alike():
    first, second = read(0, 20, "I waited for two hours"), read(20, 30, "I waited tor two hours")
    assert len(reconcile([first, second])) == 2
    sure = [replace(c, confidence=0.97, ocr_confidence=0.8) for c in (first, second)]
    assert reconcile(sure) == sure
    blurred = replace(second, ocr_confidence=0.8)
    assert summary([first, blurred]) == [(0, 30, "I waited for two hours")]


def test_captions_without_text_and_unsure_flickers_are_dropped():
    captions = [read(0, 9, ""), read(12, 13, "x", confidence=0.3), read(20, 21, "Hi", confidence=0.9)]
    captions.append(read(30, 31, "Now!", confidence=0.3))
    assert summary(captions) == [(20, 21, "Hi"), (30, 31, "Now!")]


def test_unread_and_failed_captions_stay():
    captions = [
        read(0, 9, None, ocr_status="queued"),
        read(9, 20, None, ocr_status="error", ocr_error="no frames"),
    ]
    assert reconcile(captions) == captions


def test_peoples_captions_are_neither_joined_nor_dropped():
    captions = [read(0, 9, "Yes", text="Yes"), read(9, 20, "Yes"), read(20, 30, "", state="confirmed")]
    assert reconcile(captions) == captions


def test_quotes_dashes_and_widths_do_not_matter_but_punctuation_does():
    assert comparable("Don’t — wait…") == comparable("don't - wait...")
    assert comparable("ＡＢＣ") == comparable("abc")
    assert comparable("No") != comparable("No?")


@st.composite
def sequences(draw):
    position, captions = 0, []
    for _ in range(draw(st.integers(0, 10))):
        start = position + draw(st.integers(0, 4))
        position = start + draw(st.integers(1, 8))
        text = draw(st.sampled_from(["", "Step 1", "Step 2", "Where were you", "Where were yov", "No"]))
        person = draw(st.sampled_from([{}, {}, {}, {"state": "confirmed"}, {"text": "mine"}]))
        captions.append(read(start, position, text, confidence=draw(st.sampled_from([0.3, 0.9])), **person))
    return captions


@given(sequences())
def test_the_result_is_ordered_disjoint_stable_and_keeps_every_persons_caption(captions):
    result = reconcile(captions)
    edges = [edge for c in result for edge in (c.start_index, c.end_index)]
    assert edges == sorted(edges)
    assert [c for c in result if c.belongs_to_person] == [c for c in captions if c.belongs_to_person]
    assert len({c.id for c in result}) == len(result)
    assert reconcile(result) == result
