"""A video's captions in one process: those of the graph, and what stops it."""

import sys
from pathlib import Path

import pytest

from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions.subtitles import SubtitleFormat
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import read_layout
from modal_gpu.errors import NotAVideoError
from modal_gpu.extraction import texts
from modal_gpu.extraction.extraction import Approval, LayoutNotApprovedError, extract_captions
from modal_gpu.functions.settings import ComputeSettings
from tests.clip_fixtures import ABOVE, BELOW, Clip
from tests.line_fixtures import CONFIDENCE, Line

ONE = ComputeSettings(workers=1)


def test_the_subtitles_are_the_graphs_to_the_byte_without_a_chunk(
    clip: Clip, line: Line, finished: VideoRow, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("modal_gpu.media.chunks._OpenChunk.__init__", None)
    steps = []
    found = extract_captions(clip.path, ONE, Approval(CONFIDENCE), lambda *step: steps.append(step))
    keys = line.keys(finished.video_id)
    for format, key in ((SubtitleFormat.srt, keys.srt), (SubtitleFormat.vtt, keys.vtt)):
        assert found.encoded(format) == line.store.get(key)
    layout = read_layout(line.store.get(keys.layout_db))
    assert (found.layout.crop_region, found.layout.reason) == (finished.crop_region, layout.reason)
    assert list(dict.fromkeys(stage for stage, _, _ in steps)) == ["frames", "strips", "captions"]
    assert all(0 <= done <= total for _, done, total in steps)


@pytest.mark.slow
def test_captions_that_the_pass_did_not_read_are_read_from_the_video_again(clip: Clip, monkeypatch):
    usual = extract_captions(clip.path, ONE)
    monkeypatch.setattr(texts.LiveTexts, "add", lambda *_: None)
    again = extract_captions(clip.path, ONE)
    assert [c.ocr_text for c in again.captions] == [c.ocr_text for c in usual.captions] != []


def test_a_layout_below_the_policy_needs_a_person(plain_clip: Clip, tmp_path: Path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    for policy in (0.99, None):
        with pytest.raises(LayoutNotApprovedError, match="No caption band"):
            extract_captions(plain_clip.path, ONE, Approval(policy))
    forced = Approval(None, CropRegion(0, 0.7, 1, 1))
    found = extract_captions(plain_clip.path, ONE, forced)
    assert (found.captions, found.layout.crop_region) == ([], forced.crop_region)
    assert not list(scratch.iterdir())


def test_a_file_that_is_no_video_is_refused(tmp_path: Path):
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(NotAVideoError):
        extract_captions(tmp_path / "text.mp4", ONE)


def test_an_interrupt_leaves_nothing_behind(clip: Clip, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "strips":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_captions(clip.path, ONE, progress=interrupt)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_zone_is_read_unless_a_person_names_one_place(two_zone_clip: Path):
    found = extract_captions(two_zone_clip, ONE)
    for zone, truth in enumerate((BELOW, ABOVE)):
        captions = [c for c in found.captions if c.zone == zone]
        assert [c.ocr_text for c in captions] == [text for _, _, text in truth]
        assert [c.start_seconds for c in captions] == pytest.approx([start for start, _, _ in truth], abs=0.1)
    assert found.encoded(SubtitleFormat.srt).decode().count("{\\an8}") == len(ABOVE)
    assert len(found.layout.zones) == 1

    one = extract_captions(two_zone_clip, ONE, Approval(None, found.layout.crop_region))
    assert {c.zone for c in one.captions} == {0} and one.layout.zones == ()
    assert [c.ocr_text for c in one.captions] == [text for _, _, text in BELOW]
