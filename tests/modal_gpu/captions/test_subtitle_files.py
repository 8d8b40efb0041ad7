"""Files that people corrected, as their programs write them, and files that are none."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.subtitle_files import MAX_BYTES, SubtitleFileError, read_subtitles

SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello,\nyou.\n\n2\n00:00:03,000 --> 00:00:04,000\n42\n"


def texts(data, name="x.srt"):
    data = data.encode() if isinstance(data, str) else data
    return [(one.start, one.end, one.text) for one in read_subtitles(data, name)]


HELLO = [(1000, 2500, "Hello,\nyou."), (3000, 4000, "42")]


@pytest.mark.parametrize(
    "data",
    [
        SRT,
        SRT.encode("utf-8-sig"),
        SRT.encode("utf-16"),
        SRT.replace("\n", "\r\n"),
        SRT.replace("2\n00", "00"),
        SRT.replace("1\n00", "7\n00"),
        SRT + "\n\n\n",
    ],
    ids=["plain", "mark", "UTF-16", "CRLF", "without a number", "other numbers", "blank lines"],
)
def test_subrip(data):
    assert texts(data) == HELLO


def test_numbers_that_are_text_are_kept():
    assert [t for _, _, t in texts(SRT.replace("Hello,\nyou.", "Count\n3"))] == ["Count\n3", "42"]


def test_webvtt_with_names_notes_settings_and_entities():
    data = (
        "WEBVTT Kind: captions\n\nNOTE made by hand\n\nintro\n00:01.000 --> 00:02.500 line:0 align:start\n"
        "<v Anna>Fish &amp; &lt;chips&gt;</v>\n\nNOTE again\n\n00:00:03.000 --> 00:00:04.000\nCount\n3\n"
    )
    assert texts(data, "x.vtt") == [(1000, 2500, "Fish & <chips>"), (3000, 4000, "Count\n3")]


def test_formatting_is_dropped_and_reported():
    [one] = read_subtitles(b"1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<i>Softly</i> {x} 1 < 2\n", "x.srt")
    assert (one.text, one.has_formatting) == ("Softly {x} 1 < 2", True)


def test_ass_without_comments_and_drawings():
    head = (
        "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n\n"
        "[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    )
    rows = (
        "Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\i1}Hello,{\\i0}\\Nyou.\n"
        "Comment: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,not this\n"
        "Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\p1}m 0 0 l 1 1\n"
        "Dialogue: 0,0:00:03.00,0:00:04.00,Zone 2,,0,0,0,,42\n"
    )
    found = read_subtitles((head + rows).encode(), "x.ass")
    assert [(one.start, one.end, one.text) for one in found] == HELLO
    assert [one.zone for one in found] == [0, 2]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.srt", b"", "is empty"),
        ("x.srt", b" \n\n", "is empty"),
        ("x.srt", SRT.encode().replace(b"you", b"y\xf6u"), r"not in UTF-8 \(line 4\)"),
        ("x.srt", SRT.replace("--> 00:00:04,000", "--> 00:00:o4,000").encode(), "line 7: .* are no times"),
        ("x.srt", b"%PDF-1.7 hello", "looks like another format"),
        ("x.srt", b"\x00\x01\x02", "zero bytes"),
        ("x.vtt", SRT.encode(), "looks like srt"),
        ("x.txt", SRT.encode(), "give one that ends in"),
        ("x.json", b"[]", "give one that ends in"),
        ("x.srt", b"1\n00:00:01,000 --> 00:00:02,000\n\n", "has no captions"),
        ("x.vtt", b"WEBVTT\n", "has no captions"),
    ],
)
def test_other_files_are_refused_in_a_sentence(name, data, message):
    with pytest.raises(SubtitleFileError, match=message) as refused:
        read_subtitles(data, name)
    assert str(refused.value).startswith(name) and "\n" not in str(refused.value)


def test_a_file_that_is_too_large_is_refused():
    with pytest.raises(SubtitleFileError, match="is larger than 20 MB"):
        read_subtitles(b"1" * (MAX_BYTES + 1), "x.srt")


SAMPLES = {
    "x.srt": SRT,
    "x.vtt": "WEBVTT\n\n00:01.000 --> 00:02.500 line:0\nHello &amp; you\n",
    "x.ass": (
        "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n\n"
        "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\i1}Hello\\Nyou\n"
    ),
}


@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 4), st.binary(max_size=4)), max_size=4),
)
def test_damaged_files_give_captions_or_a_sentence(name, damages):
    data = SAMPLES[name].encode()
    for place, cut, put in damages:
        data = data[:place] + put + data[place + cut :]
    with contextlib.suppress(SubtitleFileError):
        assert all(one.text.strip() for one in read_subtitles(data, name))
