"""Rendered clips: the same for a seed, labelled as their script says, splits that share nothing."""

import itertools

import numpy as np
import pytest

from modal_gpu.extents.predictor import LABELS
from training import clips, texts
from training.clips import CASES, Clip, make_clip
from training.dataset import whole_window, window
from training.fonts import SPLITS, faces
from training.footage import STILLS, VIDEOS
from training.train import pair_labels


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


def test_a_scripted_timeline_gives_the_labels_that_it_says(footage, monkeypatch):
    """At 25 frames a second: nothing, then two captions without a gap, nothing again."""
    plan = clips._plan
    times = [(0.40, 1.00, 0.0, 0.0), (1.00, 1.48, 0.0, 0.0)]
    contents = ["A first caption", "Another one here"]

    def scripted(rng, split, case):
        made = plan(rng, split, case)
        made.rate, made.script = 25.0, "latin"
        return made

    monkeypatch.setattr(clips, "_plan", scripted)
    monkeypatch.setattr(clips, "_times", lambda plan, seconds: times)
    monkeypatch.setattr(clips, "_contents", lambda plan, count: contents)
    clip = make_clip(8, "train", "plain", footage, frames=20)
    assert clip.owner.tolist() == [-1] * 4 + [0] * 6 + [1] * 5 + [-1] * 5
    made = whole_window(clip)
    labels = [LABELS[column] for column in pair_labels(made)]
    assert labels[3] == "empty_valid" and labels[9] == "different" and labels[14] == "valid_empty"
    assert set(labels[:3] + labels[15:]) == {"empty_empty"} and set(labels[4:9] + labels[10:14]) == {"same"}
    assert made.change[10].max() > 0.5 and made.change[9].max() == 0
    assert made.text[5].max() > 0.5 and made.text[0].max() == 0


def test_a_fading_caption_is_shown_from_where_it_can_be_seen(footage, monkeypatch):
    monkeypatch.setattr(clips, "_times", lambda plan, seconds: [(0.2, 1.8, 1.0, 0.4)])
    monkeypatch.setattr(clips, "_contents", lambda plan, count: ["Fading in slowly"])
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
        hints=clips.StripHints(line_height=0.8),
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
    clip = make_clip(5, "test", "logo", footage, frames=8, keep_source=True)
    clip.save(tmp_path / "clip.npz")
    again = Clip.load(tmp_path / "clip.npz")
    for name in ("luma", "reference", "owner", "opacity", "glyphs", "source"):
        np.testing.assert_array_equal(getattr(clip, name), getattr(again, name))
    assert again.hints == clip.hints and (again.case, again.texts) == (clip.case, clip.texts)


def test_splits_share_no_footage_no_font_and_no_text():
    for one, other in itertools.combinations(SPLITS, 2):
        assert not set(VIDEOS[one]) & set(VIDEOS[other])
        assert not set(STILLS[one]) & set(STILLS[other])
        for script in texts.SCRIPTS:
            files = [{face.file for s in texts.SCRIPTS for face in faces(split, s)} for split in (one, other)]
            assert faces(one, script) and not files[0] & files[1]
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for script in texts.SCRIPTS:
            made = texts.text(rng, split, script)
            changed = texts.one_character_changed(rng, split, script, made + "7")
            assert texts.split_of(made) == split == texts.split_of(changed)
            assert sum(a != b for a, b in zip(made + "7", changed, strict=True)) == 1
        assert {texts.split_of(made) for made in texts.numbered(rng, split, "latin")} == {split}
