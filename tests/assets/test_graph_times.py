"""Times on their way through the graph: kept with the video, added where they leave."""

from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks.quality import read_captions as read_subtitles
from modal_gpu.databases.captions import read_captions
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line
from tests.modal_gpu.media.odd_clocks import audio_first
from tests.run_results import failure


@pytest.mark.slow
def test_subtitles_count_from_the_containers_start_and_indices_from_the_first_frame(
    line: Line, clip: Clip, tmp_path: Path
):
    video = line.upload(audio_first(clip.path, tmp_path / "late.mkv", Fraction(3, 2)))
    for job in ("layout", "captions"):
        result = line.run(job, video.video_id)
        assert result.success, failure(result)
    row, keys = line.row(video.video_id), line.keys(video.video_id)
    assert (row.frame_count, row.timeline.start_offset_seconds) == (80, pytest.approx(1.5, abs=0.01))
    captions = read_captions(line.store.get(keys.captions_db))
    for key in (keys.srt, keys.vtt):
        path = tmp_path / Path(key).name
        path.write_bytes(line.store.get(key))
        for found, caption, truth in zip(read_subtitles(path), captions, clip.truth, strict=True):
            assert found.start_s == pytest.approx(truth.start_s + 1.5, abs=0.05)
            assert found.end_s == pytest.approx(truth.end_s + 1.5, abs=0.05)
            assert caption.start_seconds == pytest.approx(truth.start_s, abs=0.05)
            assert caption.start_index == pytest.approx(truth.start_s * 10, abs=1)
