"""SRT and WebVTT as another program reads them back."""

import json
from html import unescape

import pysubs2

from modal_gpu.captions.subtitles import to_rows, to_srt, to_vtt
from modal_gpu.databases.captions import Caption


def make(start, end, ocr, **changes):
    return Caption(
        round(start * 10), round(end * 10), start, end, ocr_text=ocr, ocr_status="completed", **changes
    )


CAPTIONS = [
    make(1.15, 3.25, "Where were you\nlast night?"),
    make(3.25, 3605.95, "今天的天气真不错"),
    make(3606.0, 3607.0, "Fish & chips <b> --> {x}"),
]


def test_srt_reads_back_with_its_times_and_lines():
    events = pysubs2.SSAFile.from_string(to_srt(CAPTIONS), format_="srt")
    assert [(e.start, e.end) for e in events] == [(1150, 3250), (3250, 3605950), (3606000, 3607000)]
    assert events[0].plaintext == "Where were you\nlast night?"
    assert events[1].plaintext == "今天的天气真不错"


def test_text_in_braces_and_angles_is_not_lost():
    assert "Fish & chips <b> --> {x}\n" in to_srt(CAPTIONS)
    assert "Fish &amp; chips &lt;b&gt; --&gt; {x}\n" in to_vtt(CAPTIONS)


def test_vtt_reads_back():
    text = to_vtt(CAPTIONS)
    assert text.startswith("WEBVTT\n\n")
    assert "\r" not in text
    events = pysubs2.SSAFile.from_string(text, format_="vtt")
    assert [e.start for e in events] == [1150, 3250, 3606000]
    assert unescape(events[1].plaintext) == "今天的天气真不错"


def test_ends_never_pass_the_next_start():
    events = pysubs2.SSAFile.from_string(to_srt([make(1, 3, "a"), make(2.5, 4, "b")]))
    assert [(e.start, e.end) for e in events] == [(1000, 2500), (2500, 4000)]


def test_gaps_empty_captions_and_those_a_person_emptied_are_left_out():
    captions = [
        make(1, 2, ""),
        make(2, 3, "x", state="gap"),
        make(3, 4, "x", text=""),
        make(4, 5, "x", text="mine"),
    ]
    events = pysubs2.SSAFile.from_string(to_srt(captions))
    assert [e.plaintext for e in events] == ["mine"]


def test_no_captions_make_valid_empty_files():
    assert to_srt([]) == ""
    assert to_vtt([]).startswith("WEBVTT")


def test_a_blank_line_inside_a_caption_cannot_end_its_cue():
    events = pysubs2.SSAFile.from_string(to_srt([make(1, 2, "one\n\n  \ntwo"), make(3, 4, "three")]))
    assert [e.plaintext for e in events] == ["one\ntwo", "three"]


def test_rows_are_json_and_half_open():
    rows = json.loads(json.dumps(to_rows(CAPTIONS)))
    assert rows[0]["start_index"] == 12 and rows[0]["end_seconds"] == 3.25
    assert {row["source"] for row in rows} == {"ocr"}
    assert to_rows([make(1, 2, "x", text="y")])[0]["source"] == "person"
