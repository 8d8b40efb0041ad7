"""Runs on Modal's stand-in: refused before a call if too expensive, charged after it."""

import json
import uuid
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from captionacc_dagster.assets.costs import COST_TAG
from captionacc_dagster.constants import LOCAL_TENANT_ID
from captionacc_dagster.costs.estimates import CostLimitError, VideoWork, actual, estimate
from captionacc_dagster.costs.ledger import charge_abandoned, cost_policy, reserve
from captionacc_dagster.resources.catalog import CatalogUnavailableError, VideoRow
from captionacc_dagster.resources.compute import CallReport, FanOut
from captionacc_dagster.settings import get_settings
from modal_gpu.contracts import (
    CaptionZone,
    CropInferRequest,
    CropInferResult,
    CropRegion,
    Progress,
    no_progress,
)
from modal_gpu.deployment.settings import CAPTION_OCR, CROP_AND_INFER, EXTRACT, ModalSettings
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.ocr.vision_settings import VisionSettings
from modal_gpu.prices import PriceTable
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line, WatchedCompute
from tests.modal_gpu.ocr.vision.stand_in import RapidReader, VisionStandIn
from tests.resources.compute.test_modal_graph import USED, ModalLine, metadata
from tests.run_results import failure, materialized, rejections

WAITER = str(uuid.UUID(int=1))
APP, LIST = ModalSettings(_env_file=None), PriceTable()
CHARGED = {name: actual(name, USED, APP, LIST).usd for name in (EXTRACT, CROP_AND_INFER, CAPTION_OCR)}


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """The installation's settings, with only a home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def spent(line: Line) -> float:
    return line.catalog.tenant_costs(LOCAL_TENANT_ID).month_spent_usd


def tags(line: Line, result: Any) -> dict[str, str]:
    return line.instance.get_run_by_id(result.run_id).tags


def test_a_run_shows_what_it_cost(modal_line: ModalLine, laid_out: VideoRow):
    result = modal_line.run("captions", laid_out.video_id)
    assert result.success, failure(result)
    crops, text = metadata(result, "cropped_chunks"), metadata(result, "caption_ocr")
    assert crops["cost_usd"] == pytest.approx(CHARGED[CROP_AND_INFER])
    assert text["cost_usd"] == pytest.approx(CHARGED[CAPTION_OCR])
    assert (crops["gpu"], crops["gpu_seconds"]) == ("A10G", 62.0)
    assert metadata(result, "caption_frame_extents_db")["cost_usd"] == crops["cost_usd"]
    expected = estimate(CROP_AND_INFER, VideoWork(8.0, 640, 360), APP, LIST, FanOut())
    assert crops["estimated_cost_usd"] == expected.usd
    total = CHARGED[CROP_AND_INFER] + CHARGED[CAPTION_OCR]
    assert float(tags(modal_line.line, result)[COST_TAG]) == pytest.approx(total, abs=1e-6)
    assert spent(modal_line.line) == pytest.approx(total)
    assert modal_line.line.catalog.tenant_costs(LOCAL_TENANT_ID).reserved_usd == 0


class ComputeElsewhere(WatchedCompute):
    """A billed compute with another structure than Modal's: runs only know ``Compute``."""

    is_billed = True

    def __init__(self, line: Line) -> None:
        super().__init__(line.compute)
        self.catalog = line.catalog
        self.reports: list[CallReport] = []

    def crop_and_infer(self, request: CropInferRequest, progress: Progress = no_progress) -> CropInferResult:
        row = self.catalog.open_compute_call(
            request.video_id, request.run_id, CROP_AND_INFER, "0" * 64, WAITER, cropped_frames_version=None
        )
        self.catalog.assign_compute_call(row.id, WAITER, "call-1")
        result = super().crop_and_infer(request, progress)
        self.catalog.finish_compute_call(row.id, WAITER, {"value": None}, USED)
        page = "https://compute.example/call-1"
        self.reports.append(
            CallReport(row.id, CROP_AND_INFER, "call-1", page, "succeeded", False, True, **USED)
        )
        return result

    def take_reports(self) -> list[CallReport]:
        reports, self.reports = self.reports, []
        return reports


def test_any_billed_compute_is_reserved_charged_and_reported(line: Line, laid_out: VideoRow):
    line.compute = ComputeElsewhere(line)
    result = line.run("captions", laid_out.video_id, "cropped_chunks")
    assert result.success, failure(result)
    shown = metadata(result, "cropped_chunks")
    assert shown["estimated_cost_usd"] > 0
    assert shown["cost_usd"] == pytest.approx(CHARGED[CROP_AND_INFER])
    assert spent(line) == pytest.approx(CHARGED[CROP_AND_INFER])
    assert (shown["remote_calls"], shown["gpu"]) == ("[call-1](https://compute.example/call-1)", "A10G")


def test_the_reservation_counts_further_zones(line: Line, laid_out: VideoRow):
    zone = CaptionZone(1, CropRegion(0.1, 0.02, 0.9, 0.2))
    line.catalog.approve_layout(laid_out.video_id, "someone", caption_zones=(zone,))
    line.compute = ComputeElsewhere(line)
    result = line.run("captions", laid_out.video_id, "cropped_chunks")
    assert result.success, failure(result)
    work = VideoWork(8.0, 640, 360, zones=2)
    expected = estimate(CROP_AND_INFER, work, APP, LIST, FanOut()).usd
    assert metadata(result, "cropped_chunks")["estimated_cost_usd"] == expected
    assert expected > estimate(CROP_AND_INFER, replace(work, zones=1), APP, LIST, FanOut()).usd


def test_extraction_is_charged_although_its_length_is_unknown_at_first(
    modal_line: ModalLine, line: Line, clip: Clip
):
    video = line.upload(clip.path)
    result = modal_line.run("layout", video.video_id)
    assert result.success, failure(result)
    shown = metadata(result, "full_frames")
    assert shown["cost_usd"] == pytest.approx(CHARGED[EXTRACT])
    work = VideoWork.of_upload(clip.path.stat().st_size)
    assert shown["estimated_cost_usd"] == estimate(EXTRACT, work, APP, LIST, FanOut()).usd


def test_the_usage_of_a_run_counts_for_its_tenant(
    modal_line: ModalLine, laid_out: VideoRow, postgres_dsn: str
):
    result = modal_line.run("captions", laid_out.video_id, "cropped_chunks")
    with psycopg.connect(postgres_dsn) as connection:
        ((seconds, cost, video_id, details),) = connection.execute(
            "select metric_value::float, cost_estimate_usd::float, video_id::text, metadata"
            " from captionacc.usage_metrics where metric_type = 'container_seconds'"
        ).fetchall()
    assert (seconds, cost, video_id) == (62.0, pytest.approx(CHARGED[CROP_AND_INFER]), laid_out.video_id)
    assert details.pop("compute_call_id")
    assert details == {
        "function": CROP_AND_INFER,
        "run_id": result.run_id,
        "status": "succeeded",
        "gpu": "A10G",
        "gpu_seconds": 62.0,
        "vision_images": 0,
        "measured": True,
    }


def test_images_of_google_vision_are_counted_and_charged_to_the_call(
    modal_line: ModalLine, laid_out: VideoRow, postgres_dsn: str
):
    """Over real gRPC: two montages of the three captions' strips, two of them in one image."""
    with VisionStandIn(reader=RapidReader()) as vision:
        settings = VisionSettings(endpoint=vision.endpoint, montage_images=2)
        modal_line.settings = ComputeSettings(workers=1, ocr_engine="google_vision", vision=settings)
        result = modal_line.run("captions", laid_out.video_id)
    assert result.success, failure(result)
    images = vision.images_received
    assert images >= 2
    text = metadata(result, "caption_ocr")
    assert text["vision_images"] == images and "vision_images" not in metadata(result, "cropped_chunks")
    assert text["cost_usd"] == pytest.approx(CHARGED[CAPTION_OCR] + images * 0.0015)
    rows = modal_line.line.catalog.list_compute_calls(video_id=laid_out.video_id)
    assert sum(row.usage["vision_images"] for row in rows) == images
    with psycopg.connect(postgres_dsn) as connection:
        counted = connection.execute(
            "select sum((metadata ->> 'vision_images')::int), sum(cost_estimate_usd)::float"
            " from captionacc.usage_metrics where metric_type = 'container_seconds'"
            " and metadata ->> 'function' = %s",
            [CAPTION_OCR],
        ).fetchone()
    assert counted == (images, pytest.approx(text["cost_usd"]))


def test_beyond_the_videos_limit_nothing_is_called_and_the_refusal_is_recorded(
    modal_line: ModalLine, laid_out: VideoRow
):
    catalog = modal_line.line.catalog
    catalog.set_tenant_cost_limits(LOCAL_TENANT_ID, video_usd=0.001)
    result = modal_line.run("captions", laid_out.video_id)
    assert materialized(result) == []
    assert modal_line.functions() == [] and catalog.list_compute_calls(video_id=laid_out.video_id) == []
    (rejection,) = catalog.list_rejections(LOCAL_TENANT_ID)
    assert rejection.rejection_type == "cost_exceeded" and rejection.video_id == laid_out.video_id
    said = rejection.message.replace(f"video {laid_out.video_id}", "the video")
    assert rejections(result) == {f"harbour.mp4: {said}"}
    assert "captionacc cost limit --tenant" in rejection.message
    details = modal_line.line.row(laid_out.video_id).boundaries.error_details
    assert (details["error_type"], details["message"]) == ("CostLimitError", rejection.message)
    assert modal_line.versions(laid_out.video_id) == [], "no version is left half-made"
    assert COST_TAG not in tags(modal_line.line, result)


def test_following_the_refusals_advice_lets_the_video_continue(modal_line: ModalLine, laid_out: VideoRow):
    catalog = modal_line.line.catalog
    catalog.set_tenant_cost_limits(LOCAL_TENANT_ID, video_usd=0.001)
    assert materialized(modal_line.run("captions", laid_out.video_id)) == []
    (rejection,) = catalog.list_rejections(LOCAL_TENANT_ID)
    amount = float(rejection.message.split("--video-usd ")[1].split("`")[0])
    catalog.set_tenant_cost_limits(LOCAL_TENANT_ID, video_usd=amount)
    result = modal_line.run("captions", laid_out.video_id, "cropped_chunks")
    assert result.success, failure(result)


def test_the_installations_limits_hold_for_tenants_without_their_own(
    modal_line: ModalLine, laid_out: VideoRow, monkeypatch
):
    monkeypatch.setenv("CAPTIONACC_MONTH_COST_LIMIT", "0")
    result = modal_line.run("captions", laid_out.video_id)
    (said,) = rejections(result)
    assert "--month-usd" in said
    assert modal_line.functions() == []


def test_a_second_function_is_refused_when_the_first_used_the_limit_up(
    modal_line: ModalLine, laid_out: VideoRow
):
    """The crops are within the limit; with their cost, the text is not."""
    crops = estimate(CROP_AND_INFER, VideoWork(8.0, 640, 360), APP, LIST, FanOut()).usd
    modal_line.line.catalog.set_tenant_cost_limits(LOCAL_TENANT_ID, video_usd=crops)
    result = modal_line.run("captions", laid_out.video_id)
    (said,) = rejections(result)
    assert said.startswith(f"harbour.mp4: {CAPTION_OCR} of the video")
    assert modal_line.functions() == [CROP_AND_INFER]
    assert modal_line.line.row(laid_out.video_id).text.error_details["error_type"] == "CostLimitError"


def test_a_call_that_failed_is_charged_as_well(modal_line: ModalLine, laid_out: VideoRow):
    error = {"type": "BadVideoError", "message": "damaged", "retryable": False}
    modal_line.service.on_spawn = lambda call_id, _: modal_line.service.answer(
        call_id, {"ok": False, "error": error, "usage": USED}
    )
    result = modal_line.run("captions", laid_out.video_id)
    assert "damaged" in failure(result)
    assert spent(modal_line.line) == pytest.approx(CHARGED[CROP_AND_INFER])
    assert modal_line.line.catalog.tenant_costs(LOCAL_TENANT_ID).reserved_usd == 0


def test_prices_and_cores_from_the_settings_are_used(modal_line: ModalLine, laid_out: VideoRow, monkeypatch):
    monkeypatch.setenv("CAPTIONACC_PRICES", json.dumps({"gpu_second": {"A10": 0.001}}))
    monkeypatch.setenv("MODAL_CROP_INFER_CPU", "2")
    result = modal_line.run("captions", laid_out.video_id, "cropped_chunks")
    assert result.success, failure(result)
    second = 0.001 + 2 * 0.0000131 + 8 * 0.00000222
    assert metadata(result, "cropped_chunks")["cost_usd"] == pytest.approx(62 * second, abs=1e-6)


def test_local_compute_costs_nothing_and_calls_nothing(line: Line, laid_out: VideoRow):
    line.catalog.set_tenant_cost_limits(LOCAL_TENANT_ID, video_usd=0, month_usd=0)
    result = line.run("captions", laid_out.video_id, "cropped_chunks")
    assert result.success, failure(result)
    assert "cost_usd" not in metadata(result, "cropped_chunks")
    assert COST_TAG not in tags(line, result)
    assert spent(line) == 0


def test_an_outage_while_charging_fails_no_run_and_upkeep_charges_later(
    modal_line: ModalLine, laid_out: VideoRow, monkeypatch, postgres_dsn
):
    catalog = modal_line.line.catalog
    with monkeypatch.context() as outage:

        def away(*_: Any, **__: Any) -> None:
            raise CatalogUnavailableError("away")

        outage.setattr(type(catalog), "charge_compute_call", away)
        assert modal_line.run("captions", laid_out.video_id, "cropped_chunks").success
    assert spent(modal_line.line) == 0
    policy = cost_policy(get_settings())
    assert charge_abandoned(catalog, policy) == 0, "what ended just now is its run's to charge"
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("update captionacc.compute_calls set finished_at = now() - interval '11 minutes'")
    assert charge_abandoned(catalog, policy) == 1
    assert charge_abandoned(catalog, policy) == 0
    assert spent(modal_line.line) == pytest.approx(CHARGED[CROP_AND_INFER])


def test_a_refusal_is_permanent(line: Line, laid_out: VideoRow):
    policy = cost_policy(get_settings())
    expected = estimate(EXTRACT, VideoWork(10**7), APP, LIST, FanOut())
    with pytest.raises(CostLimitError, match="would cost about") as refused:
        reserve(line.catalog, policy, laid_out.video_id, "run", expected)
    assert not refused.value.retryable
