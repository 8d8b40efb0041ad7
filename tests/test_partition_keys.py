"""Partition keys: readable, accepted by Dagster, and with the video's id in them."""

import unicodedata

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.partition_keys import NAME_LENGTH, name_of, partition_key_for, video_id_of

ID = "edc31d52-0bd1-4c05-8113-97c434447e12"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("talk.mp4", "talk.mp4"),
        ("season 1/Talk, part 2 (final).mp4", "Talk_part_2_final.mp4"),
        ("C:\\clips\\talk.mp4", "talk.mp4"),
        ("動画 第3回.mp4", "動画_第3回.mp4"),
        ("हिन्दी वीडियो.mp4", "हिन्दी_वीडियो.mp4"),
        ("e\N{COMBINING ACUTE ACCENT}te\N{COMBINING ACUTE ACCENT}.mkv", "été.mkv"),
        ("a...b~c.mp4", "a.b_c.mp4"),
        ("x" * 80 + ".mp4", "x" * 56 + ".mp4"),
        ("x" * 80, "x" * 60),
        (".hidden.mp4", "hidden.mp4"),
    ],
)
def test_the_name_is_the_files_with_safe_characters(path: str, name: str):
    key = partition_key_for(path, ID)
    assert key == f"{name}~{ID}"
    assert (name_of(key), video_id_of(key)) == (name, ID)


@pytest.mark.parametrize("path", ["", "...", "~/", "😀", "-_-"])
def test_without_letters_or_digits_the_key_is_the_id(path: str):
    assert partition_key_for(path, ID) == ID
    assert (name_of(ID), video_id_of(ID)) == (ID, ID)


@given(st.text(max_size=1024))
def test_any_name_gives_a_key_that_dagster_accepts(path: str):
    key = partition_key_for(path, ID)
    name, mark, video_id = key.rpartition("~")
    assert video_id == video_id_of(key) == ID
    assert mark == "~" * bool(name) and len(name) <= NAME_LENGTH
    assert name == unicodedata.normalize("NFC", name)
    assert all(c in ".-_" or unicodedata.category(c)[0] in "LMN" for c in name)
    # A static set checks its keys as a tick does.
    assert dg.StaticPartitionsDefinition([key]).get_partition_keys() == [key]
    assert partition_key_for(name, ID) == key
