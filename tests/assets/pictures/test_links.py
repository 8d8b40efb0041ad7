"""What an event holds: short Markdown that the UI shows without a click, and no text breaks its markup."""

import re
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.assets.pictures.frames import PreviewFrame, poster
from captionacc_dagster.assets.pictures.links import (
    INLINE_LENGTH,
    Gallery,
    Markdown,
    address,
    js_length,
    one_line,
    short_table,
    table,
)
from modal_gpu.errors import StorageError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

KEYS = VideoKeys("00000000-0000-4000-8000-00000000cacc", "edc31d52-0bd1-4c05-8113-97c434447e12")
IMAGE = Markdown(
    f"![caption 1234](/captionacc/pictures/{KEYS.tenant_id}/{KEYS.video_id}/caption-{'0' * 12}.jpg)"
)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.from_url(tmp_path.as_uri())


def test_a_picture_is_stored_by_its_content_and_linked(store: ObjectStore):
    gallery = Gallery(store, KEYS)
    first = gallery.show("poster", "a frame", lambda: b"\xff\xd8 first")["poster"].value
    found = re.fullmatch(r"!\[a frame\]\(/captionacc/pictures/([^)]+)\)", first)
    assert found
    tenant, video, name = found[1].split("/")
    assert (tenant, video) == (KEYS.tenant_id, KEYS.video_id)
    assert re.fullmatch(r"poster-[0-9a-f]{12}\.jpg", name)
    assert store.get(KEYS.picture(name)) == b"\xff\xd8 first"
    assert js_length(first) < INLINE_LENGTH

    again = gallery.show("poster", "a frame", lambda: b"\xff\xd8 first")["poster"].value
    other = gallery.show("poster", "a frame", lambda: b"\x89PNG other")["poster"].value
    assert first == again != other
    assert other.endswith(".png)")
    assert len(list(store.list(KEYS.pictures_prefix))) == 2


def test_a_picture_that_cannot_be_made_is_left_out_with_a_warning(store: ObjectStore):
    def fail() -> bytes:
        raise StorageError("the bucket does not answer")

    warnings: list[str] = []
    gallery = Gallery(store, KEYS, warnings.append)
    assert gallery.show("poster", "a frame", fail) == {}
    assert gallery.tell("images", lambda: fail().decode()) == {}
    assert len(warnings) == 2
    assert all(KEYS.video_id in warning and "does not answer" in warning for warning in warnings)


def test_a_picture_of_a_damaged_frame_is_left_out_too(store: ObjectStore):
    warnings: list[str] = []
    frame = PreviewFrame(0, b"\xff\xd8 not a JPEG")
    assert Gallery(store, KEYS, warnings.append).show("poster", "a frame", lambda: poster(frame)) == {}
    assert "UnidentifiedImageError" in warnings[0]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a|b", r"a\|b"),
        ("two\nlines", "two / lines"),
        ("<b>*bold*</b>", r"\<b\>\*bold\*\</b\>"),
        ("[link](x) `code` _it_", r"\[link\](x) \`code\` \_it\_"),
        ("back\\slash", "back\\\\slash"),
        ("", ""),
        (3, "3"),
        ("\r\nwindows\r", "windows"),
        ("![alt](http://elsewhere/pixel.png)", r"!\[alt\](http://elsewhere/pixel.png)"),
    ],
)
def test_text_in_a_table_is_only_text(text: object, cell: str):
    """Captions may contain any text of a video, including text that looks like Markdown."""
    header, rule, row = short_table(["what"], [[text]]).split("\n")
    assert (header, rule) == ("| what |", "| --- |")
    assert row == f"| {cell} |"


def test_our_own_picture_in_a_table_stays_a_picture():
    assert IMAGE in short_table(["image", "text"], [[IMAGE, "a"]])


@given(st.lists(st.text(max_size=80), max_size=20))
def test_a_short_table_is_always_shown_without_a_click(texts: list[str]):
    text = short_table(("image", "text"), [(IMAGE, one) for one in texts])
    assert js_length(text) < INLINE_LENGTH
    assert text.count("![") <= len(texts)


def test_four_captions_with_their_images_fit_into_one_value():
    rows = [(IMAGE, "1:02:03.4 " + one_line("Nur die Möwen sind noch wach." * 3, 60), "0.97")] * 4
    assert short_table(("image", "text", "confidence"), rows).count("![") == 4


def test_nothing_is_no_table():
    assert short_table(["what"], []) == ""


def test_a_table_of_the_ui_has_rounded_numbers_and_texts_on_one_line():
    value = table((("text", "string"), ("share", "float"), ("count", "int")), [("two\nlines", 0.123456, 3)])
    assert isinstance(value, dg.TableMetadataValue)
    assert [record.data for record in value.records] == [{"text": "two / lines", "share": 0.123, "count": 3}]
    assert [(column.name, column.type) for column in value.schema.columns] == [
        ("text", "string"),
        ("share", "float"),
        ("count", "int"),
    ]


def test_an_address_is_a_path_or_a_bucket_as_text(store: ObjectStore, tmp_path: Path):
    assert address(store, KEYS.srt) == dg.MetadataValue.text(f"{tmp_path}/{KEYS.srt}")
    bucket = ObjectStore.from_url("s3://videos/captions", access_key_id="key", secret_access_key="hidden")
    assert address(bucket, KEYS.srt).value == f"s3://videos/captions/{KEYS.srt}"


def test_a_long_text_is_cut_and_a_short_one_is_not():
    assert one_line("one\ntwo", 20) == "one / two"
    assert one_line("x" * 30, 10) == "x" * 9 + "…"
