"""A person's labels decide over what the analysis sees."""

import pytest

from tests.modal_gpu.layout.readings import LOGO, analyze, assert_holds, captions_in, line, text, video


def test_a_box_labelled_out_and_similar_ones_are_not_captions():
    """A lower third that changes looks like a caption; a person knows better."""
    frames = video(
        *(
            [line(text(i), 0.8, left=0.1), line(text(i + 200), 0.92)]
            if i % 2
            else [line(text(i), 0.8, left=0.1)]
            for i in range(20)
        )
    )
    assert analyze(frames).vertical_center == pytest.approx(0.8)
    out = {(frame.frame_index, 0): "out" for frame in frames}
    layout = analyze(frames, labels=out)
    assert layout.vertical_center == pytest.approx(0.92)
    assert captions_in(layout, frames) == {text(i + 200) for i in range(20) if i % 2}


def test_a_box_labelled_in_makes_a_band_where_none_was_found():
    frames = video(*([line("THE END", 0.5)] if i == 29 else [] for i in range(30)))
    layout = analyze(frames, labels={(29 * 30, 0): "in"})
    assert layout.found and layout.confidence == 1
    assert_holds(layout, frames, {"THE END"})


def test_clear_takes_a_label_back():
    frames = video(*([LOGO] for _ in range(30)))
    labels = {(frame.frame_index, 0): "clear" for frame in frames}
    assert analyze(frames, labels=labels) == analyze(frames)
