"""The frames of captions are held until the captions have ended, and never more than a limit."""

import numpy as np

from modal_gpu.captions.median import sample_indices
from modal_gpu.extents.predictor import PairBatch
from modal_gpu.extraction.pictures import LEAST_FRAMES, CaptionPictures
from modal_gpu.media.frames import CroppedFrame

STRIP = np.zeros((24, 16), np.uint8)  # 16 × 16 pixels in 4:2:0


class Handed(dict):
    def __call__(self, start: int, end: int, frames) -> None:
        self[start, end] = [frame.index for frame in frames]


def watched(presence: list[float], held: int) -> tuple[Handed, list[int]]:
    """Pass frames with these scores, at most ``held`` strips at once; return what was handed out."""
    handed, most = Handed(), []
    pictures = CaptionPictures("extents-10", handed, held * STRIP.nbytes)
    scores = np.array(presence, np.float32)
    for start in range(0, len(scores), 10):
        for index in range(start, min(start + 10, len(scores))):
            pictures.frame(CroppedFrame(index, STRIP, index / 10, 1))
        most.append(len(pictures._frames))
        part = scores[start : start + 10]
        pictures.batch(PairBatch(start, part, np.full(len(part), 0.99, np.float32)))
    pictures.finish()
    return handed, most


def test_a_captions_frames_are_those_of_its_median():
    handed, most = watched([0.01] * 30 + [0.98] * 25 + [0.01] * 30 + [0.98] * 15, 100)
    assert handed == {(30, 55): sample_indices(30, 55), (85, 100): sample_indices(85, 100)}
    assert max(most) < 60, "strips before an open caption are dropped"


def test_a_long_caption_gets_fewer_frames_from_all_over_it():
    handed, most = watched([0.01] * 20 + [0.98] * 400 + [0.01] * 40, 100)
    (frames,) = handed.values()
    assert max(most) <= 100
    assert LEAST_FRAMES <= len(frames) <= 31 and frames == sorted(frames)
    assert frames[0] < 60 and frames[-1] > 380


def test_a_caption_with_too_few_frames_is_left_to_be_read_again():
    handed, _ = watched([0.01] * 20 + [0.98] * 400 + [0.01] * 40, 6)
    assert handed == {}
