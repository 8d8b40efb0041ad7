"""Marks that OCR reads unsteadily are made uniform, and everything else stays as it was read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.normalization import with_uniform_marks


def uniform(*texts: str) -> list[str]:
    return list(with_uniform_marks({(k, k + 1): text for k, text in enumerate(texts)}).values())


def test_hyphens_of_dialogues_get_the_space_that_others_have():
    read = ["-He took the dog.\n- It still runs.", "-We went there.\nNobody else.", "– Ja?\n–Nein!"]
    expected = ["- He took the dog.\n- It still runs.", "- We went there.\nNobody else.", "– Ja?\n– Nein!"]
    assert uniform(*read) == expected


@pytest.mark.parametrize(
    "texts",
    [
        ["-He took the dog.\n-It still runs."],  # the style of this video has none
        ["- Yes.", "-5 degrees", "--", "well-known"],
        ["Wait… what?", "No..."],
        ["，好。", "他走了。"],
    ],
)
def test_what_may_be_as_it_was_read_stays(texts):
    assert uniform(*texts) == texts


@pytest.mark.parametrize("dots", ["…", "………", "...", "。。。", "……"])
def test_dots_after_chinese_and_japanese_are_an_ellipsis(dots):
    assert uniform(f"我们只去过那里一次{dots}") == ["我们只去过那里一次……"]
    assert uniform(f"まだ動く{dots}") == ["まだ動く……"]


def test_an_exclamation_in_spanish_begins_with_its_mark():
    read = ["iQué lejos queda el faro!", "Señor, iÁnimo!", "¿Quién dejó el iPad?", "iPhone"]
    assert uniform(*read) == ["¡Qué lejos queda el faro!", "Señor, ¡Ánimo!", "¿Quién dejó el iPad?", "iPhone"]
    assert uniform("iPhone sales are up!", "It is here.") == ["iPhone sales are up!", "It is here."]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        ("We went there, my brother and l.", "We went there, my brother and I."),
        ("l think so", "I think so"),
        ("5 l milk", "5 l milk"),
        ("C'est l'heure, l’ami", "C'est l'heure, l’ami"),
        ("i.e. l.c.", "i.e. l.c."),
    ],
)
def test_a_lone_lower_case_l_is_the_word_i(read, text):
    assert uniform(read) == [text]


@given(st.lists(st.text(max_size=30), max_size=5))
def test_doing_it_twice_changes_nothing_more(texts):
    once = uniform(*texts)
    assert uniform(*once) == once
