"""Run keys are read as they were built, and stay the strings that Dagster has seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.runs.keys import (
    BackfillKey,
    CaptionsKey,
    LayoutKey,
    RequestsKey,
    RunKey,
    TextKey,
    parse,
)

VIDEO, OTHER = "0b7e1f0e-9d0c-4c57-9d37-3a3f6a1f5a77", "7f1f2b52-1d0a-4f6c-8a55-0c5d0d5b9f10"
IDS = st.uuids().map(str)
NUMBERS = st.integers(min_value=0)
KEYS = st.one_of(
    st.builds(LayoutKey, IDS, NUMBERS),
    st.builds(CaptionsKey, IDS, NUMBERS, NUMBERS),
    st.builds(TextKey, IDS, NUMBERS, NUMBERS),
    st.builds(RequestsKey, IDS, IDS, NUMBERS),
    st.builds(BackfillKey, IDS, IDS),
)


@given(KEYS)
def test_a_key_is_read_as_it_was_built(key: RunKey):
    assert parse(str(key)) == key


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (LayoutKey(VIDEO, 2), f"layout/{VIDEO}/2"),
        (CaptionsKey(VIDEO, 3, 1), f"captions/{VIDEO}/3/1"),
        (TextKey(VIDEO, 3, 4), f"text/{VIDEO}/3/4"),
        (RequestsKey(VIDEO, OTHER, 5), f"request/{VIDEO}/{OTHER}/5"),
        (BackfillKey(OTHER, VIDEO), f"backfill/{OTHER}/{VIDEO}"),
    ],
)
def test_keys_stay_as_they_are_because_dagster_recognizes_work_by_them(key: RunKey, text: str):
    assert str(key) == text


@given(st.lists(st.sampled_from(["layout", "text", "request", VIDEO, "1", "01", "-", "١", ""]), max_size=5))
def test_any_other_text_is_no_key(parts: list[str]):
    text = "/".join(parts)
    key = parse(text)
    assert key is None or str(key) == text


@pytest.mark.parametrize("text", ["", "layout", f"layout/{VIDEO}", f"layout/{VIDEO}/x", f"audio/{VIDEO}/1"])
def test_unknown_kinds_and_missing_parts_are_no_key(text: str):
    assert parse(text) is None
