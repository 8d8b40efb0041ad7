"""A GIF shows few frames: captions begin with the first frame that shows them."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from benchmarks.metrics import match
from benchmarks.pipeline import run
from benchmarks.quality import Caption
from modal_gpu.captions.subtitles import shown
from modal_gpu.functions.settings import ComputeSettings
from tests.clip_fixtures import Clip

FRAMES_A_SECOND = 10


def write_gif(source: Path, target: Path) -> None:
    """Write the frames that ``source`` shows at each tenth of a second, in 256 fixed colours."""
    with av.open(str(source)) as video, av.open(str(target), "w", format="gif") as gif:
        stream = gif.add_stream("gif", rate=FRAMES_A_SECOND)
        shown_frame, count = None, 0

        def write_until(seconds: float) -> None:
            nonlocal count
            while shown_frame is not None and count / FRAMES_A_SECOND < seconds:
                picture = shown_frame.reformat(format="rgb8")
                picture.pts, picture.time_base = count, Fraction(1, FRAMES_A_SECOND)
                gif.mux(stream.encode(picture))
                count += 1

        for frame in video.decode(video=0):
            if shown_frame is None:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "rgb8"
            write_until(frame.time)
            shown_frame = frame
        write_until(shown_frame.time + 1 / 25)
        gif.mux(stream.encode(None))


def test_captions_of_a_gif_begin_with_the_first_frame_that_shows_them(clip: Clip, tmp_path: Path) -> None:
    write_gif(clip.path, tmp_path / "clip.gif")
    done = run(tmp_path / "clip.gif", tmp_path / "bucket", ComputeSettings(workers=1))
    found = [Caption(a / 1000, b / 1000, c.best_text) for a, b, c in shown(done.captions)]
    pairs = match(clip.truth, found).pairs
    assert len(pairs) == len(clip.truth) == len(found)
    for pair in pairs:
        # The first frame that shows it is at the next tenth, so that it is never before the truth.
        first_shown = -(-round(pair.truth.start_s * 100) // 10) / 10
        assert pair.extracted.start_s == pytest.approx(first_shown, abs=0.011), pair
