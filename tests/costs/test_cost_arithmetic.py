"""Estimates and charges: they add up, grow with the work, and count what Modal bills."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.costs import estimates as costs
from captionacc_dagster.costs.estimates import COLD_START_SECONDS, VideoWork, actual, estimate, estimates
from captionacc_dagster.resources.compute import FanOut
from modal_gpu.deployment.settings import CAPTION_OCR, CROP_AND_INFER, EXTRACT, FUNCTIONS, ModalSettings
from modal_gpu.errors import ConfigurationError
from modal_gpu.frame_index import frame_count
from modal_gpu.prices import PriceTable

LIST = PriceTable()
APP = ModalSettings(_env_file=None)
NOW = datetime(2026, 11, 21, tzinfo=UTC)

functions = st.sampled_from(FUNCTIONS)
seconds = st.floats(0.1, 5 * 3600)
sides = st.integers(16, 4320)
works = st.builds(VideoWork, seconds, sides, sides, st.none() | st.integers(0, 10_000), st.integers(1, 4))
fan_outs = st.builds(
    FanOut,
    segment_frames=st.integers(1, 24).map(lambda n: 512 * n),
    max_parallel=st.integers(1, 40),
    divide_crops=st.booleans(),
)


def rate(function: str) -> float:
    own = APP.function(function)
    return LIST.container_second(own.gpu, own.cpu, own.memory_mib)


@given(function=functions, work=works, fan_out=fan_outs)
def test_an_estimate_is_its_seconds_and_images_at_their_prices(function, work, fan_out):
    found = estimate(function, work, APP, LIST, fan_out)
    assert found.usd == pytest.approx(
        found.seconds * rate(function) + LIST.vision(found.vision_images), abs=1e-6
    )
    assert found.containers <= min(max(1, found.calls), fan_out.max_parallel, 10)
    assert found.wall_seconds <= found.seconds


@given(function=functions, work=works, more=st.floats(1, 3600), fan_out=fan_outs)
def test_a_longer_video_never_costs_less(function, work, more, fan_out):
    # Under five minutes full frames are denser, in steps of a tenth of a second.
    longer = replace(work, seconds=max(work.seconds, 300) + more)
    shorter = replace(work, seconds=max(work.seconds, 300))
    assert (
        estimate(function, longer, APP, LIST, fan_out).usd
        >= estimate(function, shorter, APP, LIST, fan_out).usd
    )


@given(function=functions, work=works, fan_out=fan_outs, factor=st.integers(2, 4))
def test_a_larger_picture_never_costs_less(function, work, fan_out, factor):
    larger = replace(work, width=work.width * factor, height=work.height * factor)
    assert (
        estimate(function, larger, APP, LIST, fan_out).usd >= estimate(function, work, APP, LIST, fan_out).usd
    )


# Up to the deployment's own limit of containers: more calls abreast than that come in rounds of their own.
@given(function=functions, work=works, parallel=st.integers(2, 9))
def test_more_containers_are_faster_and_cost_their_starts(function, work, parallel):
    few = estimate(function, work, APP, LIST, FanOut(max_parallel=parallel, divide_crops=True))
    more = estimate(function, work, APP, LIST, FanOut(max_parallel=parallel + 1, divide_crops=True))
    assert more.wall_seconds <= few.wall_seconds + 1e-6
    started = more.containers - few.containers
    assert more.seconds - few.seconds == pytest.approx(started * (COLD_START_SECONDS + APP.scaledown_seconds))


@given(work=works, fan_out=fan_outs)
def test_calls_are_the_ones_that_the_compute_makes(work, fan_out):
    count = frame_count(work.seconds)
    found = estimate(CROP_AND_INFER, work, APP, LIST, fan_out)
    assert found.calls == (len(fan_out.segments(count)) if fan_out.divide_crops else 1)
    captions = estimate(CAPTION_OCR, VideoWork(1, captions=250), APP, LIST, FanOut(max_parallel=2))
    assert captions.calls == 3


@given(work=works, fan_out=fan_outs, more=st.integers(1, 3))
def test_a_further_zone_is_cropped_and_read_and_not_decoded_again(work, fan_out, more):
    further = replace(work, zones=work.zones + more)
    extract, crops, text = (
        (estimate(function, work, APP, LIST, fan_out), estimate(function, further, APP, LIST, fan_out))
        for function in (EXTRACT, CROP_AND_INFER, CAPTION_OCR)
    )
    assert extract[0] == extract[1]
    of_one_zone = work.seconds * costs.CROP_CORE_SECONDS / APP.function(CROP_AND_INFER).workers
    assert crops[1].seconds > crops[0].seconds
    if work.width * work.height <= 1280 * 720:
        assert crops[1].seconds - crops[0].seconds < more * of_one_zone * costs.MARGIN
    assert (text[1].usd > text[0].usd) == (work.captions is None)


def test_existing_captions_cost_nothing():
    found = estimate(CAPTION_OCR, VideoWork(600, captions=0), APP, LIST, FanOut(max_parallel=10))
    assert (found.usd, found.calls, found.containers, found.seconds, found.vision_images) == (0, 0, 0, 0, 0)


def test_the_total_of_a_video_is_the_sum_of_its_functions():
    work = VideoWork(10_800)
    found = estimates(work, APP, LIST, FanOut(max_parallel=10, divide_crops=True))
    assert [one.function for one in found] == [EXTRACT, CROP_AND_INFER, CAPTION_OCR]
    assert 0.5 < sum(one.usd for one in found) < 5, "three hours are dollars, not cents nor a budget"


def test_a_gpu_without_a_price_is_refused_before_anything_is_paid():
    app = ModalSettings(_env_file=None, MODAL_EXTRACT_GPU="V100")
    with pytest.raises(ConfigurationError, match="V100"):
        estimate(EXTRACT, VideoWork(60), app, LIST, FanOut())


def test_rapidocr_bills_no_images():
    app = ModalSettings(_env_file=None, OCR_ENGINE="rapidocr")
    assert all(one.vision_images == 0 for one in estimates(VideoWork(3600), app, LIST, FanOut()))


def test_full_frames_are_billed_as_the_engine_stacks_them():
    """The figures of docs/reference/ocr-engines.md, computed by the planner, for an hour of video."""
    from modal_gpu.ocr import google_vision

    assert costs.VISION_IMAGE_PIXELS == google_vision._BATCH_PIXELS
    for size, images in (((1280, 720), 14), ((1920, 1080), 30), ((3840, 2160), 120)):
        assert estimate(EXTRACT, VideoWork(3600, *size), APP, LIST, FanOut()).vision_images == images


def test_a_video_of_unknown_length_is_estimated_from_its_size():
    assert VideoWork.of_upload(125_000 * 60) == VideoWork(60)
    assert VideoWork.of_upload(10**12, 8.0, 640, 360) == VideoWork(8, 640, 360)


# -- what a call cost ------------------------------------------------------------------------

used = st.fixed_dictionaries(
    {
        "seconds": st.floats(0, 86_400),
        "cold_start_seconds": st.floats(0, 600),
        "gpu": st.sampled_from(["T4", "A10G", "none", ""]),
    },
    optional={"vision_images": st.integers(0, 1000)},
)


@given(function=functions, usage=used)
def test_a_charge_is_its_seconds_and_images_at_their_prices(function, usage):
    charge = actual(function, usage, APP, LIST)
    own = APP.function(function)
    gpu = usage["gpu"] or own.gpu
    cold = usage["cold_start_seconds"]
    billed = usage["seconds"] + (cold + APP.scaledown_seconds if cold else 0)
    per_second = LIST.container_second(gpu, own.cpu, own.memory_mib)
    images = usage.get("vision_images", 0)
    assert charge.usd == pytest.approx(billed * per_second + LIST.vision(images), abs=1e-5)
    assert (charge.gpu, charge.vision_images, charge.measured) == (gpu, images, True)
    assert charge.gpu_seconds == (0 if gpu == "none" else charge.seconds)


def test_half_an_hour_on_a_t4_is_about_thirty_cents_and_its_cores():
    charge = actual(EXTRACT, {"seconds": 1800.0, "gpu": "T4"}, APP, LIST)
    assert charge.usd == pytest.approx(0.2952 + 1800 * (4 * 0.0000131 + 8 * 0.00000222), abs=1e-6)


def test_a_call_that_never_started_costs_nothing():
    charge = actual(EXTRACT, None, APP, LIST, finished_at=NOW)
    assert (charge.usd, charge.seconds, charge.measured) == (0, 0, False)


@given(minutes=st.floats(0, 600))
def test_a_call_without_usage_is_charged_by_its_times_up_to_its_timeout(minutes):
    charge = actual(EXTRACT, None, APP, LIST, started_at=NOW, finished_at=NOW + timedelta(minutes=minutes))
    expected = min(minutes * 60, APP.extract_timeout) + APP.scaledown_seconds
    assert charge.seconds == pytest.approx(expected, abs=0.01)
    assert charge.usd == pytest.approx(expected * rate(EXTRACT), abs=1e-5)


def test_a_clock_that_goes_backwards_charges_no_negative_time():
    charge = actual(EXTRACT, None, APP, LIST, started_at=NOW, finished_at=NOW - timedelta(hours=1))
    assert charge.seconds == APP.scaledown_seconds


def test_a_gpu_without_a_price_counts_as_the_most_expensive():
    dear = actual(EXTRACT, {"seconds": 10.0, "gpu": "X9"}, APP, LIST)
    assert dear.usd == pytest.approx(actual(EXTRACT, {"seconds": 10.0, "gpu": "B200"}, APP, LIST).usd)
    assert math.isfinite(dear.usd) and dear.gpu == "X9"


def test_a_function_of_another_version_is_charged_for_its_gpu():
    assert actual("gone", {"seconds": 10.0, "gpu": "T4"}, APP, LIST).usd == pytest.approx(0.00164)
