"""Real footage with exact truth through the graph: the quality that the project promises."""

from pathlib import Path

import pytest

from benchmarks.metrics import evaluate
from benchmarks.quality import read_captions
from tests.extract_command import extracted
from tests.line_fixtures import Line

pytestmark = [pytest.mark.data, pytest.mark.slow]


@pytest.mark.parametrize("name", ["en90", "zh80"])
def test_captions_of_a_real_clip_are_found_and_read(
    data_dir: Path, line: Line, tmp_path: Path, name: str, record_property
):
    video, truth = data_dir / "clips" / f"{name}.mp4", read_captions(data_dir / "clips" / f"{name}.srt")
    graph = line.subtitles_of(video)
    (tmp_path / "graph.srt").write_bytes(graph)
    quality = evaluate(truth, read_captions(tmp_path / "graph.srt"))
    start, end = quality.start_error_ms.median, quality.end_error_ms.median
    record_property(
        "outcome",
        f"{name:<22} {quality.found} of {quality.truth} captions found, {quality.invented} invented, "
        f"start and end {start:.0f} and {end:.0f} ms off (median), characters wrong {quality.cer:.2%}",
    )
    assert (quality.found, quality.invented) == (quality.truth, 0)
    assert quality.both_ends >= quality.truth - 1
    assert start <= 40 and end <= 40
    assert quality.cer <= 0.01
    # The same in one process, without Dagster and without chunks.
    assert extracted(video, tmp_path / "out") == graph
