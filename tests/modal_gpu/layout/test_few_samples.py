"""Few frames or a single caption give a layout with a lower confidence, and no text at all a sure answer."""

from modal_gpu.ocr.engine import FrameOcr
from tests.modal_gpu.layout.readings import LOGO, analyze, assert_holds, captions_in, line, text, video


def test_no_text_at_all_is_a_sure_answer_after_many_frames_only():
    many, few = analyze(video(*([] for _ in range(30)))), analyze(video([]))
    assert not many.found and many.confidence > 0.95 and many.reason == "No text in 30 frames."
    assert not few.found and few.confidence <= 0.5


def test_failed_frames_are_not_evidence():
    failed = [FrameOcr(i * 30, "failed", error="broken") for i in range(30)]
    layout = analyze(failed)
    assert not layout.found and layout.confidence == 0 and layout.reason == "No frame could be read."


def test_a_single_frame_with_a_caption_is_a_guess_with_low_confidence():
    layout = analyze(video([LOGO, line("Where were you last night?", 0.92)]))
    assert layout.found and layout.confidence <= 0.5 and layout.anchor_type == "center"
    assert layout.crop_region.crop_top < 0.85  # room for a second line


def test_a_single_frame_with_a_logo_gives_nothing():
    layout = analyze(video([LOGO]))
    assert not layout.found and layout.confidence <= 0.5


def test_a_short_clip_with_three_captions_is_enough():
    shown = [None, None, 0, 0, 1, 1, 1, 2]
    frames = video(*([LOGO] if k is None else [LOGO, line(text(k), 0.92)] for k in shown), step=10)
    layout = analyze(frames)
    assert layout.found and 0.7 < layout.confidence < 0.95
    assert captions_in(layout, frames) == {text(0), text(1), text(2)}


def test_a_short_clip_under_one_caption_is_not_taken_for_a_logo():
    layout = analyze(video(*([LOGO, line("Where were you last night?", 0.92)] for _ in range(6)), step=10))
    assert layout.found and layout.confidence <= 0.5


def test_a_single_sentence_in_a_minute_is_a_caption_that_a_person_approves():
    frames = video(
        *([line("We went there once.", 0.92)] if i in (16, 17) else [] for i in range(30)), step=20
    )
    layout = analyze(frames)
    assert layout.found and layout.confidence <= 0.5
    assert_holds(layout, frames, {"We went there once."})


def test_a_single_title_leaves_a_doubt():
    layout = analyze(video(*([line("THE END", 0.9)] if i == 29 else [] for i in range(30))))
    assert not layout.found and layout.confidence <= 0.5
    assert layout.reason == "No caption band, but text that may be a caption: 'THE END'."
