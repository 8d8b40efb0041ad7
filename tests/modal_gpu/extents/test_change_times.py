"""Captions begin and end on the exact source frame, for all frame rates, cuts and fades."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from modal_gpu.contracts import CropRegion
from modal_gpu.extents.change_times import WINDOW, ChangeLocator, _change, picture_size
from modal_gpu.extents.decoder import STROKES, decode
from modal_gpu.extents.predictor import PairBatch, StripHints, collect
from modal_gpu.extents.strokes import StrokePredictor
from modal_gpu.media.frames import CroppedFrame, SourceStrip, read_cropped_frames

SIZE = (480, 120)
LINE_HEIGHT = 36 / SIZE[1]
CROP = CropRegion(0, 0, 1, 1)

#: Captions as (first frame, frame after the last, text): alone, back to back, with two frames between.
CUES = [
    (13, 41, "Alone in the dark"),
    (62, 90, "Nobody came back"),
    (90, 121, "until the morning"),
    (123, 148, "of the last day"),
]


def regular(rate: Fraction | int) -> list[Fraction]:
    return [Fraction(number) / Fraction(rate) for number in range(160)]


RNG = np.random.default_rng(5)
RATES = {
    "25": regular(25),
    "29.97": regular(Fraction(30_000, 1001)),
    "50": regular(50),
    "variable": [Fraction(int(at), 1000) for at in np.cumsum(RNG.choice([17, 25, 33, 40, 83], 160))],
}


def moving_picture(number: int) -> np.ndarray:
    """Draw drifting clouds, and another scene from frame 75 on."""
    rng = np.random.default_rng(11 if number < 75 else 12)
    clouds = cv2.GaussianBlur(rng.integers(0, 255, (SIZE[1], 900)).astype(np.float32), (0, 0), 5)
    clouds = cv2.normalize(clouds, None, 20, 190, cv2.NORM_MINMAX)
    return clouds[:, 2 * number : 2 * number + SIZE[0]].astype(np.uint8)


def with_text(picture: np.ndarray, text: str, alpha: float) -> np.ndarray:
    drawn = picture.copy()
    for color, thickness in ((0, 7), (240, 2)):
        cv2.putText(drawn, text, (40, 75), cv2.FONT_HERSHEY_SIMPLEX, 1.1, color, thickness, cv2.LINE_AA)
    return cv2.addWeighted(drawn, alpha, picture, 1 - alpha, 0)


@dataclass(frozen=True)
class Film:
    """A clip, and the times of each caption's first frame and of the first frame after it."""

    path: Path
    truth: list[tuple[float, float]]


def film(folder: Path, times: list[Fraction], fade: int = 0) -> Film:
    """Encode a film; ``fade``: frames that a caption takes to appear and to vanish."""
    path = folder / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90_000)
        for number, at in enumerate(times):
            picture = moving_picture(number)
            for first, end, text in CUES:
                if first <= number < end:
                    alpha = min(1, (number - first + 1) / fade, (end - number) / fade) if fade else 1
                    picture = with_text(picture, text, alpha)
            frame = av.VideoFrame.from_ndarray(picture, format="gray8")
            frame.pts, frame.time_base = round(at * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    start = times[0]
    return Film(path, [(float(times[first] - start), float(times[end] - start)) for first, end, _ in CUES])


def strips(path: Path) -> list[CroppedFrame]:
    size = picture_size(SIZE[1], SIZE[0], LINE_HEIGHT)
    return list(read_cropped_frames(path, CROP, source_size=size))


def true_labels(frames: list[CroppedFrame], truth: list[tuple[float, float]]) -> PairBatch:
    """Return the labels that a perfect predictor gives the 10 Hz frames."""
    shown = [
        next((n for n, (start, end) in enumerate(truth) if start <= f.seconds < end), None) for f in frames
    ]
    presence = [0.01 if caption is None else 0.99 for caption in shown]
    same = [0.99] + [0.99 if a == b else 0.01 for a, b in pairwise(shown)]
    return PairBatch(0, np.array(presence, np.float32), np.array(same, np.float32))


def located(frames: list[CroppedFrame], labels: PairBatch) -> np.ndarray:
    locator = ChangeLocator()
    for _ in locator.watched(frames):
        pass
    locator.add(labels)
    return locator.finish()


def changes(labels: PairBatch) -> list[int]:
    """Return the frame indices at which a caption begins, ends or follows another one."""
    before, after = labels.presence[:-1] > 0.5, labels.presence[1:] > 0.5
    return [
        int(at) + 1 for at in np.flatnonzero((before != after) | (before & after & (labels.same[1:] < 0.5)))
    ]


@pytest.mark.parametrize("times", RATES.values(), ids=RATES.keys())
def test_captions_that_cut_in_and_out_are_placed_on_their_source_frame(tmp_path: Path, times: list[Fraction]):
    made = film(tmp_path, times)
    frames = strips(made.path)
    labels = true_labels(frames, made.truth)
    found = located(frames, labels)
    expected = sorted({at for span in made.truth for at in span})
    seen = found[changes(labels)]
    # A gap of two frames may fall between two indices: then its two changes are one pair's.
    assert len(seen) >= len(expected) - 1
    for at in seen:
        assert min(abs(at - true) for true in expected) < 1e-3
    assert np.isnan(np.delete(found, changes(labels))).all()


@pytest.mark.parametrize("times", RATES.values(), ids=RATES.keys())
def test_captions_that_fade_are_placed_within_one_source_frame_mostly_and_always_within_the_fade(
    tmp_path: Path, times: list[Fraction]
):
    made = film(tmp_path, times, fade=4)
    frames = strips(made.path)
    labels = true_labels(frames, made.truth)
    found = located(frames, labels)
    fade = 4 * float(max(b - a for a, b in pairwise(times)))
    expected = sorted({at for span in made.truth for at in span})
    errors = [min(abs(at - true) for true in expected) for at in found[changes(labels)]]
    assert np.median(errors) <= float(np.median(np.diff(np.array(times, float)))) + 1e-3
    assert max(errors) <= fade + 1e-3


@cache
def panorama(seed: int) -> np.ndarray:
    """Draw a wide picture full of strong edges."""
    rng = np.random.default_rng(seed)
    picture = np.full((SIZE[1], 1000), 70, np.uint8)
    for _ in range(260):
        x, y = int(rng.integers(980)), int(rng.integers(110))
        cv2.rectangle(picture, (x, y), (x + 28, y + 14), int(rng.integers(20, 230)), -1)
    return picture


@pytest.mark.parametrize("gap", [5, 7])
@pytest.mark.parametrize("cut", [500, 98, 107])
def test_a_short_gap_over_moving_edges_and_cuts_keeps_both_its_ends(gap: int, cut: int):
    """One caption ends with picture 100, and the next begins ``gap`` pictures later, at 25 a second."""
    captions = {"They never came back": range(100), "It was not theirs": range(100 + gap, 200)}
    frames, last = [], 44
    for index in range(20, 65):
        source = []
        for number in range(last + 1, index * 5 // 2 + 1):
            picture = panorama(7 if number < cut else 8)[:, 2 * number : 2 * number + SIZE[0]]
            for text, shown in captions.items():
                picture = with_text(picture, text, 1) if number in shown else picture
            source.append(SourceStrip(number / 25, picture))
            last = number
        frames.append(CroppedFrame(index - 20, np.zeros((30, 80), np.uint8), last / 25, 1, tuple(source)))
    labels = true_labels(frames, [(0, 4.0), ((100 + gap) / 25, 8.0)])
    found = located(frames, labels)
    assert found[changes(labels)] == pytest.approx([4.0, (100 + gap) / 25], abs=1e-3)


@pytest.mark.parametrize("dissolve", [4, 5, 6])
def test_of_captions_that_dissolve_the_later_begins_where_there_is_more_of_it(dissolve: int):
    """The background is still; each picture between the captions mixes both."""
    first, second = (
        with_text(np.full((120, 480), 90, np.uint8), text, 1) for text in ("before that", "what came")
    )
    shares = np.clip((np.arange(50) - 20) / dissolve, 0, 1)
    pictures = [
        SourceStrip(number / 25, np.round(first * (1 - share) + second * share).astype(np.uint8))
        for number, share in enumerate(shares)
    ]
    places = np.array([strip.seconds * 10 for strip in pictures]) - (20 + dissolve / 2) / 2.5
    found = _change(pictures, places, "changes")
    assert found.at("changes") == np.argmax(shares > 0.5)


def leaving_shape(number: int) -> np.ndarray:
    """A still picture out of which a dark shape moves to the right, column by column, until picture 10."""
    rng = np.random.default_rng(4)
    picture = cv2.GaussianBlur(rng.integers(60, 255, (SIZE[1], SIZE[0])).astype(np.uint8), (0, 0), 1)
    covered = picture[:, 60 * max(0, number - 2) :][:, :200]
    covered[:] = rng.integers(0, 25, covered.shape)
    return picture


def appearing(first: int, fade: int = 0) -> int:
    """The picture at which "Hm" is found to begin: after a step over the shape, or a fade without it."""
    pictures = []
    for number in range(20):
        alpha = float(np.clip((number - first + 1) / (fade + 1), 0, 1))
        picture = leaving_shape(100 if fade else number)
        pictures.append(SourceStrip(number / 25, with_text(picture, "Hm", alpha)))
    index = np.ceil(np.array([strip.seconds * 10 for strip in pictures]) - 1e-6)
    found = _change(pictures, index - np.ceil((first + fade / 2) / 2.5 - 1e-6) + 0.5, "appears")
    return found.at("appears")


@pytest.mark.parametrize("first", [9, 10, 11])
def test_what_moves_away_behind_a_short_caption_is_no_fade_of_it(first: int):
    assert appearing(first) == first


def test_a_slow_fade_stays_one():
    assert abs(appearing(7, fade=8) - 7) <= 1


def test_the_stroke_predictors_captions_begin_and_end_on_their_source_frames(tmp_path: Path):
    made = film(tmp_path, RATES["25"])
    frames = strips(made.path)
    locator = ChangeLocator()
    hints = StripHints(line_height=LINE_HEIGHT, vertical_center=0.53)
    batches = []
    for batch in StrokePredictor().predict(locator.watched(frames), hints):
        batches.append(batch)
        locator.add(batch)
    found = locator.finish()
    spans = [(found[extent.start], found[extent.end]) for extent in decode(collect(batches), STROKES)]
    assert spans == [
        (pytest.approx(start, abs=0.041), pytest.approx(end, abs=0.041)) for start, end in made.truth
    ]


def test_batches_however_small_give_the_same_times_and_old_pictures_are_let_go(tmp_path: Path):
    made = film(tmp_path, RATES["29.97"])
    frames = strips(made.path)
    labels = true_labels(frames, made.truth)
    expected = located(frames, labels)
    locator, drawn = ChangeLocator(), 0
    watched = locator.watched(frames)
    for index in range(len(frames)):
        while drawn < min(len(frames), index + WINDOW + 3):
            next(watched)
            drawn += 1
        locator.add(PairBatch(index, labels.presence[index : index + 1], labels.same[index : index + 1]))
        assert len(locator._sources) <= 3 * WINDOW + 8
    assert np.array_equal(locator.finish(), expected, equal_nan=True)


def test_a_part_of_a_video_gives_the_times_of_the_whole(tmp_path: Path):
    made = film(tmp_path, RATES["25"])
    frames = strips(made.path)
    labels = true_labels(frames, made.truth)
    whole = located(frames, labels)
    for start in (10, 24, 31):
        part = frames[start:]
        locator = ChangeLocator(start)
        list(locator.watched(part))
        locator.add(PairBatch(start, labels.presence[start:], labels.same[start:]))
        settled = WINDOW + 1
        assert np.array_equal(locator.finish()[settled:], whole[start + settled :], equal_nan=True)


def test_a_change_that_no_picture_shows_has_no_time():
    grey = np.full((20, 80), 90, np.uint8)
    frames = [
        CroppedFrame(i, np.zeros((30, 80), np.uint8), i / 10, 1, (SourceStrip(i / 10, grey),))
        for i in range(20)
    ]
    presence = np.array([0.01] * 10 + [0.99] * 10, np.float32)
    assert np.isnan(located(frames, PairBatch(0, presence, np.full(20, 0.99, np.float32)))).all()


def test_small_pictures_hold_the_line_height_and_never_grow():
    assert picture_size(128, 1178, 48 / 128) == (53, 491)
    assert picture_size(40, 300, 0.3) == (40, 300)
    assert max(picture_size(300, 3840, 0.04)) <= 640
