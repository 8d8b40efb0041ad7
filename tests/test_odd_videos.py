"""Unusual and broken videos through the full pipeline: the captions that they show, or a clear error.

The outcomes are printed as a table at the end of the test run.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.metrics import Caption, evaluate, match
from benchmarks.pipeline import PipelineRun, run
from benchmarks.quality import read_captions
from modal_gpu.captions.subtitles import shown
from modal_gpu.errors import CaptionAccError, NotAVideoError, NoVideoStreamError
from modal_gpu.functions.settings import ComputeSettings
from tests.line_fixtures import Line
from tests.run_results import failure

pytestmark = pytest.mark.data

#: File: how much later than in base8 its pictures come, in seconds, and the error (in seconds) that its own
#: rate of pictures allows. The delay of fps2 was measured by comparing its pictures with those of base8.
RIGHT = {
    "base8.mp4": (0.0, 0.1),
    "anamorphic_sar.mp4": (0.0, 0.1),
    "editlist_seek2.mp4": (-2.0, 0.1),
    "fps2.mp4": (0.54, 0.5),
    "fps60.mp4": (0.0, 0.1),
    "hevc10bit.mp4": (0.0, 0.1),
    "huge_dims_header.mp4": (0.0, 0.1),
    "odd_dims_444.mp4": (0.0, 0.1),
    "rotated_meta90.mp4": (0.0, 0.1),
    "start_offset3.5.mkv": (0.0, 0.1),
    "vertical_406x720.mp4": (0.0, 0.1),
    "vfr_drop.mkv": (0.0, 0.1),
    "vfr_jitter.mp4": (0.0, 0.1),
}
#: Valid videos in which nothing is to be found.
EMPTY = {"all_black.mp4": 5.0, "one_frame.mp4": 0.04}
#: Damaged ones: what can be decoded is processed, and the damage is reported.
DAMAGED = {
    "bitflips_mdat.mp4": "frames are damaged and partly guessed",
    "truncated_mdat.mp4": "the file ends early, after 4.6 s of 8.0 s",
}
BROKEN = {
    "audio_only.mp4": (NoVideoStreamError, "the file has no video stream: it holds only audio"),
    "random_bytes.mp4": (NotAVideoError, "the file is not a video"),
    "text_file.mp4": (NotAVideoError, "the file is not a video"),
    "truncated_no_moov.mp4": (NotAVideoError, "cut off before its index (moov); upload the complete file"),
}
TINY = "tiny_180p.mp4"

Tell = Callable[[str, str], None]


@pytest.fixture
def tell(record_property) -> Tell:
    """Puts a line into the table of the test run's summary."""

    def add(name: str, outcome: str) -> None:
        record_property("outcome", f"{name:<22} {outcome}")

    return add


def pipeline(path: Path, work: Path) -> PipelineRun:
    return run(path, work, ComputeSettings(workers=1))


def captions_of(done: PipelineRun) -> list[Caption]:
    return [Caption(a / 1000, b / 1000, c.best_text) for a, b, c in shown(done.captions)]


def truth_of(folder: Path, later: float, duration: float) -> list[Caption]:
    """The captions of base8, as a file that shows them ``later`` and for ``duration`` has them."""
    moved = [
        Caption(max(0.0, c.start_s + later), min(c.end_s + later, duration), c.text)
        for c in read_captions(folder / "base8.srt")
    ]
    # The last one is burned in up to the last picture.
    return [*moved[:-1], Caption(moved[-1].start_s, duration, moved[-1].text)]


def test_the_table_covers_the_folder(data_dir: Path):
    files = {path.name for path in (data_dir / "odd").iterdir() if path.suffix != ".srt"}
    assert files == {*RIGHT, *EMPTY, *DAMAGED, *BROKEN, TINY}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "base8.mp4" else pytest.mark.slow) for name in RIGHT]
)
def test_an_unusual_video_gives_the_captions_of_base8(data_dir: Path, tmp_path: Path, tell: Tell, name: str):
    later, tolerance = RIGHT[name]
    done = pipeline(data_dir / "odd" / name, tmp_path)
    extracted = captions_of(done)
    truth = truth_of(data_dir / "odd", later, done.duration)
    matching = match(truth, extracted)
    assert (len(matching.pairs), matching.missed, matching.invented) == (3, [], [])
    quality = evaluate(truth, extracted)
    worst = max(quality.start_error_ms.largest, quality.end_error_ms.largest)
    assert worst <= tolerance * 1000
    assert quality.cer <= 0.03
    tell(name, f"{len(extracted)} captions, at most {worst:.0f} ms off, characters wrong {quality.cer:.1%}")


def test_a_tiny_video_has_the_right_extents(data_dir: Path, tmp_path: Path, tell: Tell):
    """Its text may be unreadable, so the times when some caption begins or ends are compared."""
    done = pipeline(data_dir / "odd" / TINY, tmp_path)
    extracted = captions_of(done)
    truth = truth_of(data_dir / "odd", 0, done.duration)
    times = [time for caption in extracted for time in (caption.start_s, caption.end_s)]
    for caption in truth:
        for time in (caption.start_s, caption.end_s):
            assert min(abs(time - other) for other in times) <= 0.1
    shown_for = sum(caption.end_s - caption.start_s for caption in extracted)
    assert shown_for == pytest.approx(sum(c.end_s - c.start_s for c in truth), abs=0.3)
    quality = evaluate(truth, extracted)
    tell(TINY, f"{quality.found} of {quality.truth} captions found, in {quality.extracted} pieces")


@pytest.mark.parametrize("name", EMPTY)
def test_a_video_without_captions_gives_none(data_dir: Path, tmp_path: Path, tell: Tell, name: str):
    done = pipeline(data_dir / "odd" / name, tmp_path)
    assert captions_of(done) == []
    assert done.duration == pytest.approx(EMPTY[name])
    tell(name, "no captions")


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGED)
def test_the_intact_part_of_a_damaged_video_is_processed_and_the_damage_is_reported(
    data_dir: Path, line: Line, tell: Tell, name: str
):
    video_id = line.upload(data_dir / "odd" / name).video_id
    layout = line.run("layout", video_id)
    assert layout.success, failure(layout)
    row = line.row(video_id)
    assert DAMAGED[name] in row.damage
    damage = [
        event.materialization.metadata["damage"].value
        for event in layout.get_asset_materialization_events()
        if "damage" in event.materialization.metadata
    ]
    assert damage and all(text == row.damage for text in damage)
    if row.crop_region is None:
        line.catalog.approve_layout(video_id, "ann")
    captions = line.run("captions", video_id)
    assert captions.success, failure(captions)
    srt = line.store.get(line.keys(video_id).srt).decode()
    assert "at the office" in srt or "in front of the station." in srt
    tell(name, f"{line.row(video_id).text_caption_count} captions; {row.damage}")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gives_an_error_in_its_row(data_dir: Path, line: Line, tell: Tell, name: str):
    kind, message = BROKEN[name]
    video_id = line.upload(data_dir / "odd" / name).video_id
    result = line.run("layout", video_id)
    assert not result.success
    row = line.row(video_id)
    assert (row.layout.status, row.layout.run_id) == ("error", None)
    assert message in row.error and "\n" not in row.error
    assert row.layout.error_details["error_type"] == kind.__name__
    assert row.error in failure(result)
    assert line.stored(video_id) == {}
    tell(name, f"error: {row.error}")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_raises_its_error_from_the_pipeline(data_dir: Path, tmp_path: Path, name: str):
    kind, message = BROKEN[name]
    with pytest.raises(kind) as raised:
        pipeline(data_dir / "odd" / name, tmp_path)
    assert message in str(raised.value)
    assert issubclass(kind, CaptionAccError) and not kind.retryable
