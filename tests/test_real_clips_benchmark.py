"""A real clip's strips and hints are made once, and read from the cache after that."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import real_clips
from modal_gpu.extents.predictor import Observation, StripHints
from modal_gpu.extents.stored_strips import StoredStrips

HINTS = StripHints(
    0.4,
    0.5,
    ignore_boxes=((0.0, 0.1, 0.2, 0.3),),
    observations=(Observation(0), Observation(10, ((0.2, 0.3, 0.8, 0.7),))),
)


def test_a_clip_from_the_cache_has_the_strips_and_hints_of_the_first_time(tmp_path: Path, monkeypatch):
    luma = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    made = []

    def make(video: Path) -> tuple[np.ndarray, StripHints]:
        made.append(video)
        return luma, replace(HINTS, samples=StoredStrips([0], lambda indices: [luma[0] for _ in indices]))

    monkeypatch.setattr(real_clips, "_strips_and_hints", make)
    video = tmp_path / "clip.mp4"
    video.with_suffix(".srt").write_text("1\n00:00:00,000 --> 00:00:00,100\nHello\n", encoding="utf-8")
    for _ in range(2):
        clip = real_clips.real_clip(video, tmp_path / "cache")
        assert (clip.luma == luma).all() and clip.hints == HINTS
        assert clip.hints.samples.nearest(0, 1) == {}, "its reference pictures come from its own strips"
    assert made == [video]
