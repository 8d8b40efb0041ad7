"""Rendered clips: the same for a seed, labelled as their script says, splits that share nothing."""

import itertools
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from benchmarks.extents_scores import clip_truth
from benchmarks.extents_times import TimeErrors, time_errors
from modal_gpu.extents.predictor import LABELS, PairBatch, StripHints
from training import rendering, texts, timeline
from training.clip import Clip
from training.dataset import VARIED_CLIPS, is_varied, whole_window, window
from training.fonts import Split, faces
from training.footage import STILLS, VIDEOS
from training.rendering import make_clip
from training.timeline import CASES
from training.validation import pair_labels


def test_a_seed_gives_the_same_clip_and_another_seed_another_one(footage):
    first = make_clip(3, "train", "fade", footage, frames=12)
    again = make_clip(3, "train", "fade", footage, frames=12)
    other = make_clip(4, "train", "fade", footage, frames=12)
    for name in ("luma", "reference", "owner", "opacity", "glyphs"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.hints == again.hints and first.texts == again.texts
    assert first.luma.shape != other.luma.shape or (first.luma != other.luma).any()


@pytest.mark.parametrize("case", CASES)
def test_every_case_renders_consistent_labels(footage, case):
    clip = make_clip(1, "validation", case, footage, frames=16)
    assert clip.luma.dtype == np.uint8 and clip.luma.shape[0] == 16
    assert clip.owner.max(initial=-1) < len(clip.glyphs)
    assert ((clip.opacity > 0) == (clip.owner >= 0)).all()
    made = whole_window(clip)
    rows, columns = made.strips.shape[1] // 4, made.strips.shape[2] // 4
    assert made.text.shape == made.change.shape == (16, rows, columns)
    assert made.hints.shape == (4, rows, columns)


def test_varied_backgrounds_change_what_is_behind_the_captions_only(footage):
    plain, varied, again = (
        make_clip(5, "train", "plain", footage, frames=16, keep_source=True, varied=each)
        for each in (False, True, True)
    )
    np.testing.assert_array_equal(varied.source, again.source)
    np.testing.assert_array_equal(varied.owner, plain.owner)
    assert varied.texts == plain.texts
    empty = plain.owner < 0
    assert empty.any() and (varied.source[empty] != plain.source[empty]).mean() > 0.5


def test_no_clip_of_the_test_split_is_varied():
    assert is_varied("train", VARIED_CLIPS) and not is_varied("train", VARIED_CLIPS - 1)
    assert not is_varied("test", 10**6)


def test_a_scripted_timeline_gives_the_labels_that_it_says(footage, monkeypatch):
    """At 25 frames a second: nothing, then two captions without a gap, nothing again."""
    plan = timeline.random_plan
    times = [(0.40, 1.00, 0.0, 0.0), (1.00, 1.48, 0.0, 0.0)]
    contents = ["A first caption", "Another one here"]

    def scripted(rng, split, case):
        made = plan(rng, split, case)
        made.rate, made.script = 25.0, "latin"
        return made

    monkeypatch.setattr(rendering, "random_plan", scripted)
    monkeypatch.setattr(timeline, "_times", lambda plan, seconds: times)
    monkeypatch.setattr(timeline, "_contents", lambda plan, count: contents)
    clip = make_clip(8, "train", "plain", footage, frames=20)
    assert clip.owner.tolist() == [-1] * 4 + [0] * 6 + [1] * 5 + [-1] * 5
    made = whole_window(clip)
    labels = [LABELS[column] for column in pair_labels(made)]
    assert labels[3] == "empty_valid" and labels[9] == "different" and labels[14] == "valid_empty"
    assert set(labels[:3] + labels[15:]) == {"empty_empty"} and set(labels[4:9] + labels[10:14]) == {"same"}
    assert made.change[10].max() > 0.5 and made.change[9].max() == 0
    assert made.text[5].max() > 0.5 and made.text[0].max() == 0


def test_a_fading_caption_is_shown_from_where_it_can_be_seen(footage, monkeypatch):
    monkeypatch.setattr(timeline, "_times", lambda plan, seconds: [(0.2, 1.8, 1.0, 0.4)])
    monkeypatch.setattr(timeline, "_contents", lambda plan, count: ["Fading in slowly"])
    clip = make_clip(2, "train", "slow_fade", footage, frames=24)
    shown = np.flatnonzero(clip.owner >= 0)
    assert shown[0] in (4, 5) and shown[-1] in (16, 17)  # a fifth of its opacity can be seen
    assert np.all(np.diff(clip.opacity[shown[0] : 12].astype(int)) >= 0)


def test_a_window_beside_the_text_shows_no_caption_and_no_change():
    glyphs = np.zeros((2, 12, 80), np.uint8)
    glyphs[:, 2:10, 4:20] = 255
    glyphs[1, 2:10, 60:70] = 255  # the second text has more at the right
    clip = Clip(
        luma=np.zeros((4, 24, 160), np.uint8),
        reference=np.zeros((24, 160), np.uint8),
        owner=np.array([0, 0, 1, 1], np.int8),
        opacity=np.full(4, 255, np.uint8),
        glyphs=glyphs,
        hints=StripHints(line_height=0.8),
        case="plain",
        script="latin",
        split="train",
        seed=0,
    )
    left, middle, right = (window(clip, 0, 4, at, 56) for at in (0, 48, 104))
    assert left.presence.tolist() == [1] * 4 and left.same.tolist() == [1] * 4
    assert middle.presence.tolist() == [0] * 4
    assert right.presence.tolist() == [0, 0, 1, 1]
    assert whole_window(clip).same.tolist() == [1, 1, 0, 1]


def test_stored_clips_are_read_back_as_they_were(footage, tmp_path):
    clip = make_clip(5, "test", "logo", footage, frames=8, keep_source=True, keep_shown=True)
    clip.save(tmp_path / "clip.npz")
    again = Clip.load(tmp_path / "clip.npz")
    np.testing.assert_array_equal(clip.shown.luma, again.shown.luma)
    np.testing.assert_array_equal(clip.shown.owner, again.shown.owner)
    assert again.shown.rate == clip.shown.rate
    for name in ("luma", "reference", "owner", "opacity", "glyphs", "source"):
        np.testing.assert_array_equal(getattr(clip, name), getattr(again, name))
    assert again.hints == clip.hints and (again.case, again.texts) == (clip.case, clip.texts)


def test_source_frames_are_shared_out_to_the_strips_that_show_them(footage):
    clip = make_clip(5, "train", "no_gap", footage, frames=16, keep_shown=True)
    shown = clip.shown
    parts = [shown.between((index - 1) / 10, index / 10) for index in range(16)]
    assert [k for part in parts for k in part] == list(range(len(shown.owner)))
    # The last one of each strip's is the one that the strip shows.
    visible = [k for k, part in enumerate(parts) if clip.owner[k] >= 0]
    assert visible
    assert [shown.owner[parts[k][-1]] for k in visible] == [clip.owner[k] for k in visible]


class _Knowing:
    """Says of each pair what the clip's script says."""

    model_version, model_sha256, margin = "knowing-1", "0" * 64, None

    def __init__(self, clip: Clip) -> None:
        self.owner = clip.owner.astype(int)

    def predict(self, frames, hints, first_index=0):
        count = len(list(frames))
        same = np.concatenate([[1], self.owner[1:] == self.owner[:-1]])
        yield PairBatch(0, (self.owner[:count] >= 0).astype(np.float32), same.astype(np.float32))


def test_errors_of_starts_and_ends_are_measured_against_the_script(footage):
    clip = make_clip(5, "train", "plain", footage, frames=48, keep_source=True, keep_shown=True)
    measured = TimeErrors()
    time_errors(_Knowing(clip), clip, [measured])
    inside = sum((start > 0) + (end < 48) for start, end in clip_truth(clip).extents())
    assert len(measured.seconds) == inside > 2
    figures = measured.to_json()
    assert figures["median_ms"] < 1 and figures["within_a_source_frame"] >= 0.75
    # A script that says half a second later makes every error half a second.
    late = replace(
        clip, shown=replace(clip.shown, owner=np.roll(clip.shown.owner, round(clip.shown.rate / 2)))
    )
    moved = TimeErrors()
    time_errors(_Knowing(clip), late, [moved])
    assert abs(moved.to_json()["median_ms"] - 500) < 60


def test_splits_share_no_footage_no_font_and_no_text():
    for one, other in itertools.combinations(get_args(Split), 2):
        assert not set(VIDEOS[one]) & set(VIDEOS[other])
        assert not set(STILLS[one]) & set(STILLS[other])
        for script in texts.SCRIPTS:
            files = [{face.file for s in texts.SCRIPTS for face in faces(split, s)} for split in (one, other)]
            assert faces(one, script) and not files[0] & files[1]
    rng = np.random.default_rng(0)
    for split in get_args(Split):
        for script in texts.SCRIPTS:
            made = texts.text(rng, split, script)
            changed = texts.one_character_changed(rng, split, script, made + "7")
            assert texts.split_of(made) == split == texts.split_of(changed)
            assert sum(a != b for a, b in zip(made + "7", changed, strict=True)) == 1
        assert {texts.split_of(made) for made in texts.numbered(rng, split, "latin")} == {split}
