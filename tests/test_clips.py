"""Real footage with exact truth through the full pipeline: the quality that the project promises."""

from pathlib import Path

import pytest

from benchmarks.metrics import evaluate
from benchmarks.pipeline import run, timed_captions
from benchmarks.quality import read_captions
from modal_gpu.captions.subtitles import to_srt
from modal_gpu.extraction.extraction import extract_captions
from modal_gpu.functions.settings import ComputeSettings

pytestmark = pytest.mark.data


@pytest.mark.parametrize("name", ["en90", "zh80"])
def test_captions_of_a_real_clip_are_found_and_read(
    data_dir: Path, tmp_path: Path, name: str, record_property
):
    folder = data_dir / "clips"
    truth = read_captions(folder / f"{name}.srt")
    graph = run(folder / f"{name}.mp4", tmp_path)
    quality = evaluate(truth, timed_captions(graph))
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
    # The same in one process, without chunks.
    direct = extract_captions(folder / f"{name}.mp4", ComputeSettings())
    assert to_srt(direct.captions, direct.timeline) == to_srt(graph.captions, graph.timeline)
