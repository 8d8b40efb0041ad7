"""A run's process is killed with SIGKILL at a step of an asset; the video ends like an undisturbed one.

By default the runs of a video are killed many times in succession, at the steps that publish something. With
``--all-faults`` each step of each asset has a video of its own, with Dagster's settings of the product.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from tests.faults.disturbed_platform import Platform, make_clip, running_platform
from tests.faults.injection import Fault
from tests.faults.table import Healed, Tell

pytestmark = [pytest.mark.faults, pytest.mark.e2e, pytest.mark.xdist_group("faults-killed")]

LAYOUT, CROPS = "extract_frames_and_ocr", "crop_and_infer_caption_frame_extents"
CAPTIONS, TEXT, SUBTITLES = "captions_db", "caption_ocr", "subtitles"

#: Every step of every asset, in order: objects put, calls of the catalogue, Dagster's events. The number
#: is how often it is done for the clip.
STEPS: dict[str, dict[str, int]] = {
    LAYOUT: {
        "begin_stage": 1,
        "put full frame": 3,
        "put thumbnail": 3,
        "put raw-ocr.db": 1,
        "record_usage": 1,
        "record_times": 1,
        "take_lock": 1,
        "put layout.db": 1,
        "bump_database_version": 1,
        "release_lock": 1,
        "finish_layout": 1,
        "settle_compute_calls": 1,
        "put picture": 5,
        "materialize full_frames": 1,
        "materialize raw_ocr_db": 1,
        "materialize layout_db": 1,
        "materialize layout_approval": 1,
        "end the step": 1,
    },
    CROPS: {
        "begin_stage": 1,
        "allot_cropped_frames_version": 1,
        "put chunk": 3,
        "put extents.db": 1,
        "activate_cropped_frames_version": 1,
        "record_times": 1,
        "record_usage": 1,
        "record_inference_run": 1,
        "settle_compute_calls": 1,
        "put picture": 3,
        "materialize cropped_chunks": 1,
        "materialize caption_frame_extents_db": 1,
        "end the step": 1,
    },
    CAPTIONS: {
        "begin_stage": 1,
        "take_lock": 1,
        "put captions.db": 1,
        "bump_database_version": 1,
        "release_lock": 1,
        "finish_boundaries": 1,
        "settle_compute_calls": 1,
        "put picture": 1,
        "materialize captions_db": 1,
        "end the step": 1,
    },
    TEXT: {
        "begin_stage": 1,
        "record_usage": 1,
        "take_lock": 1,
        "put captions.db": 1,
        "bump_database_version": 1,
        "release_lock": 1,
        "settle_compute_calls": 1,
        "put picture": 2,
        "materialize caption_ocr": 1,
        "end the step": 1,
    },
    SUBTITLES: {
        "begin_stage": 1,
        "put captions.srt": 1,
        "put captions.vtt": 1,
        "finish_text": 1,
        "settle_compute_calls": 1,
        "materialize subtitles": 1,
        "end the step": 1,
    },
}

#: Steps that publish, in lanes: the process of one video dies at each of a lane.
LANES = (
    (
        Fault(LAYOUT, "put full frame", nth=2),
        Fault(LAYOUT, "put raw-ocr.db"),
        Fault(LAYOUT, "put layout.db"),
        Fault(LAYOUT, "finish_layout"),
    ),
    (
        Fault(CROPS, "put chunk"),
        Fault(CROPS, "put extents.db"),
        Fault(CROPS, "activate_cropped_frames_version"),
        Fault(TEXT, "settle_compute_calls"),
    ),
    (
        Fault(CAPTIONS, "put captions.db"),
        Fault(CAPTIONS, "finish_boundaries"),
        Fault(TEXT, "put captions.db"),
        Fault(SUBTITLES, "put captions.srt"),
        Fault(SUBTITLES, "finish_text"),
    ),
)


def every_fault() -> list[tuple[Fault, ...]]:
    """A kill before the first step of each asset and after each step, each with a lane of its own.

    Before a step is after the one before it: nothing that others could see is done in between.
    """
    faults = []
    for asset, steps in STEPS.items():
        faults.append(Fault(asset, next(iter(steps)), when="before"))
        faults += [
            Fault(asset, step, nth=nth) for step, count in steps.items() for nth in range(1, count + 1)
        ]
    return [(fault,) for fault in faults]


def name_of(fault: Fault) -> str:
    return f"{fault.when} {fault.step}" + (f" {fault.nth}" if STEPS[fault.asset][fault.step] > 1 else "")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "number" in metafunc.fixturenames:
        lanes = every_fault() if metafunc.config.getoption("--all-faults") else LANES
        cases = [(lane, number) for lane, faults in enumerate(lanes) for number in range(len(faults))]
        ids = [f"{lanes[lane][number].asset}-{name_of(lanes[lane][number])}" for lane, number in cases]
        metafunc.parametrize(("lane", "number"), cases, ids=ids)


class KilledRuns:
    """A platform with one undisturbed video and one for each lane, all under way."""

    def __init__(self, platform: Platform, lanes: list[tuple[Fault, ...]]) -> None:
        self.platform, self.lanes = platform, lanes
        self._patience = 100.0 + 15.0 * sum(map(len, lanes))
        self.undisturbed = platform.upload()
        self.videos = [platform.upload(*lane) for lane in lanes]
        self._settled: set[str] = set()

    def settled(self, video_id: str) -> str:
        """The video, once it is finished."""
        if video_id not in self._settled:
            self.platform.wait_settled(video_id, self._patience)
            self._settled.add(video_id)
        return video_id

    def expected(self) -> dict[str, Any]:
        return self.platform.published(self.settled(self.undisturbed))


@pytest.fixture(scope="module")
def killed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KilledRuns]:
    every = request.config.getoption("--all-faults")

    def configure(text: str) -> str:
        return text if every else text.replace("max_retries: 1", "max_retries: 20")

    with running_platform(make_clip(tmp_path_factory.mktemp("clip")), configure=configure) as platform:
        yield KilledRuns(platform, every_fault() if every else list(LANES))


def test_the_steps_are_those_that_the_assets_make(killed: KilledRuns):
    """This ensures that new steps are killed too."""
    trace = killed.platform.plans.trace(killed.settled(killed.undisturbed))
    found: dict[str, dict[str, int]] = {asset: {} for asset in STEPS}
    for entry in trace:
        if entry["asset"] in found:
            steps = found[entry["asset"]]
            steps[entry["step"]] = steps.get(entry["step"], 0) + 1
    for asset, steps in STEPS.items():
        assert found[asset] == steps, asset


def test_the_undisturbed_video_has_its_captions(killed: KilledRuns):
    assert "The tide is out." in killed.expected()["srt"]
    assert killed.platform.left_over(killed.undisturbed) == []
    assert len(killed.platform.runs(killed.undisturbed)) == 1


def test_a_killed_run_is_recovered(killed: KilledRuns, lane: int, number: int, tell: Tell):
    platform, fault = killed.platform, killed.lanes[lane][number]
    video_id = killed.settled(killed.videos[lane])
    assert platform.plans.has_fired(video_id, number)
    assert platform.published(video_id) == killed.expected()
    assert platform.left_over(video_id) == []
    # Each kill ends one run, and one succeeds.
    deaths = [
        told for told in platform.events(video_id, dg.DagsterEventType.ENGINE_EVENT) if "SIGKILL" in told
    ]
    assert len(deaths) == len(killed.lanes[lane])
    (good,) = [run for run in platform.runs(video_id) if run.status == dg.DagsterRunStatus.SUCCESS]
    assert good.job_name == "video"
    died = platform.plans.fired_at(video_id, number)
    trace = platform.plans.trace(video_id)
    after = [entry for entry in trace if entry["at"] > died + 0.2]
    again = [entry for entry in after if (entry["asset"], entry["step"]) == (fault.asset, fault.step)]
    healed = "Dagster started the run again"
    if _held_a_lease([entry for entry in trace if entry["at"] <= died + 0.2]):
        healed += ", the lease ran out"
    # After the last step nothing has to be repeated: the run just ends.
    ends = [platform.instance.get_run_stats(good.run_id).end_time]
    seconds = min([entry["at"] for entry in again or after] or ends) - died
    tell(Healed("SIGKILL", fault.asset, name_of(fault), healed, seconds))


def _held_a_lease(trace: list[dict[str, Any]]) -> bool:
    own = [entry["step"] for entry in trace if entry["process"] == trace[-1]["process"]] if trace else []
    return own.count("take_lock") > own.count("release_lock")
