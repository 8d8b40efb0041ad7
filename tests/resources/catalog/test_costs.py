"""Contract: what calls cost is set aside within limits, charged once, and reported, on both transports."""

import math
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest

from captionacc_dagster.resources.catalog import (
    Catalog,
    ComputeCallRow,
    InvalidArgumentError,
    UnknownRequestError,
    UnknownTenantError,
    UnknownVideoError,
    VideoDeletedError,
    WrongStateError,
)
from tests.full_catalog import Limits
from tests.resources.catalog.conftest import Videos

EXTRACT, CROPS = "extract_frames_and_ocr", "crop_and_infer_caption_frame_extents"
WAITER = str(uuid.UUID(int=1))
NOBODY = "11111111-1111-4111-8111-111111111111"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_tier_limits(database: psycopg.Connection):
    yield
    database.execute(
        "update captionacc.access_tiers set video_cost_limit_usd = null, month_cost_limit_usd = null"
    )


@pytest.fixture
def ended(catalog: Catalog, videos: Videos):
    """A call that ended, of a new video or of the one given."""

    def make(video_id: str | None = None, *, outcome="succeeded") -> ComputeCallRow:
        video_id = video_id or videos.cropping().video_id
        row = catalog.open_compute_call(video_id, "crop-run", CROPS, str(uuid.uuid4()), WAITER)
        catalog.assign_compute_call(row.id, WAITER, f"fc-{row.id}")
        if outcome == "succeeded":
            return catalog.finish_compute_call(row.id, WAITER, {"value": 1})
        if outcome == "failed":
            return catalog.fail_compute_call(row.id, WAITER, "broken", "RemoteCallError")
        return catalog.cancel_compute_call(row.id, WAITER)

    return make


class TestSettingAside:
    def test_without_limits_everything_is_granted_and_counted(self, catalog, videos, tenant):
        video_id = videos.uploaded().video_id
        assert catalog.reserve_cost(video_id, "run", EXTRACT, 12.5) == (True, "")
        costs = catalog.tenant_costs(tenant.tenant_id)
        assert (costs.video_limit_usd, costs.month_limit_usd) == (None, None)
        assert (costs.month_spent_usd, costs.reserved_usd) == (0, 12.5)

    def test_exactly_the_limit_is_granted_and_a_cent_more_is_not(self, catalog, videos):
        video_id = videos.uploaded().video_id
        assert catalog.reserve_cost(video_id, "run", EXTRACT, 1, video_limit_usd=1)[0]
        assert not catalog.reserve_cost(video_id, "run", EXTRACT, 1.01, video_limit_usd=1)[0]

    def test_a_refusal_is_recorded_once_with_what_to_do(self, catalog, videos, tenant, database):
        video_id = videos.uploaded().video_id
        for _ in range(2):
            granted, message = catalog.reserve_cost(
                video_id, "run", EXTRACT, 7.5, video_limit_usd=5, frame_count=900
            )
            assert not granted
        assert message.startswith(f"{EXTRACT} of video {video_id} would cost about $7.50")
        assert f"captionacc cost limit --tenant {tenant.tenant_id} --video-usd 8.00" in message
        (rejection,) = catalog.list_rejections(tenant.tenant_id)
        assert (rejection.rejection_type, rejection.message) == ("cost_exceeded", message)
        assert rejection.video_id == video_id
        stored = database.execute(
            "select run_id, frame_count, estimated_cost_usd::float"
            " from captionacc.caption_frame_extents_inference_rejections"
        ).fetchall()
        assert stored == [("run", 900, 7.5)]
        assert catalog.tenant_costs(tenant.tenant_id).reserved_usd == 0

    def test_the_months_limit_counts_every_video_of_the_tenant_and_no_other_tenants(
        self, catalog, videos, tenant
    ):
        catalog.ensure_tenant(NOBODY, "other")
        catalog.record_usage(NOBODY, "container_seconds", 1, cost_estimate_usd=100)
        first, second = videos.uploaded().video_id, videos.uploaded().video_id
        catalog.record_usage(tenant.tenant_id, "container_seconds", 10, video_id=first, cost_estimate_usd=4)
        assert catalog.reserve_cost(first, "run", EXTRACT, 3, month_limit_usd=10)[0]
        granted, message = catalog.reserve_cost(second, "run", EXTRACT, 3.5, month_limit_usd=10)
        assert not granted
        assert "$7.00 of the $10.00" in message and "--month-usd 11.00" in message
        assert catalog.reserve_cost(second, "run", EXTRACT, 3, month_limit_usd=10)[0]

    def test_last_months_costs_count_for_the_video_and_not_for_the_month(
        self, catalog, videos, tenant, database
    ):
        video_id = videos.uploaded().video_id
        catalog.record_usage(tenant.tenant_id, "container_seconds", 1, video_id=video_id, cost_estimate_usd=4)
        database.execute("update captionacc.usage_metrics set recorded_at = now() - interval '32 days'")
        assert catalog.reserve_cost(video_id, "run", EXTRACT, 2, month_limit_usd=2)[0]
        assert not catalog.reserve_cost(video_id, "run", EXTRACT, 2, video_limit_usd=5)[0]

    def test_asking_again_replaces_the_reservation(self, catalog, videos, tenant):
        video_id = videos.uploaded().video_id
        catalog.reserve_cost(video_id, "run", EXTRACT, 3, video_limit_usd=5)
        assert catalog.reserve_cost(video_id, "second", EXTRACT, 4, video_limit_usd=5)[0]
        assert catalog.tenant_costs(tenant.tenant_id).reserved_usd == 4
        assert not catalog.reserve_cost(video_id, "second", CROPS, 2, video_limit_usd=5)[0]

    def test_what_an_earlier_attempt_paid_for_is_not_reserved_again(self, catalog, ended, tenant):
        row = ended()
        catalog.charge_compute_call(row.id, 3, 60)
        assert catalog.reserve_cost(row.video_id, "again", CROPS, 4, video_limit_usd=4)[0]
        assert catalog.tenant_costs(tenant.tenant_id).reserved_usd == 1
        catalog.settle_compute_calls(row.video_id, "crop-run")
        assert not catalog.reserve_cost(row.video_id, "again", CROPS, 4, video_limit_usd=4)[0]

    def test_a_reservation_of_a_dead_run_expires(self, catalog, videos, tenant, database):
        video_id = videos.uploaded().video_id
        catalog.reserve_cost(video_id, "run", EXTRACT, 3, life_seconds=60)
        database.execute("update captionacc.cost_reservations set expires_at = now() - interval '1 second'")
        assert catalog.tenant_costs(tenant.tenant_id).reserved_usd == 0
        assert catalog.reserve_cost(video_id, "run", CROPS, 5, video_limit_usd=5)[0]

    def test_only_the_run_that_holds_it_releases_it(self, catalog, videos):
        video_id = videos.uploaded().video_id
        catalog.reserve_cost(video_id, "run", EXTRACT, 3)
        assert not catalog.release_cost(video_id, "other", EXTRACT)
        assert catalog.release_cost(video_id, "run", EXTRACT)
        assert not catalog.release_cost(video_id, "run", EXTRACT)

    def test_it_stays_while_calls_go_on_without_the_run(self, catalog, videos):
        video_id = videos.cropping().video_id
        catalog.reserve_cost(video_id, "crop-run", CROPS, 3)
        row = catalog.open_compute_call(video_id, "crop-run", CROPS, "h", WAITER)
        assert not catalog.release_cost(video_id, "crop-run", CROPS)
        catalog.cancel_compute_call(row.id)
        assert catalog.release_cost(video_id, "crop-run", CROPS)

    def test_runs_that_ask_at_once_never_get_more_than_the_limit(self, catalog, videos, tenant):
        ids = [videos.uploaded().video_id for _ in range(12)]
        barrier = threading.Barrier(12)

        def ask(video_id: str) -> bool:
            barrier.wait(20)
            return catalog.reserve_cost(video_id, "run", EXTRACT, 1, month_limit_usd=5)[0]

        with ThreadPoolExecutor(12) as threads:
            granted = sum(threads.map(ask, ids))
        assert granted == 5
        assert catalog.tenant_costs(tenant.tenant_id).reserved_usd == 5

    @pytest.mark.parametrize(
        "wrong",
        [
            {"estimate_usd": -1},
            {"estimate_usd": math.inf},
            {"estimate_usd": math.nan},
            {"run_id": ""},
            {"function_name": ""},
            {"life_seconds": 0},
        ],
    )
    def test_invalid_values_are_refused(self, catalog, videos, wrong):
        usual = {"run_id": "run", "function_name": EXTRACT, "estimate_usd": 1}
        with pytest.raises(InvalidArgumentError):
            catalog.reserve_cost(videos.uploaded().video_id, **{**usual, **wrong})

    def test_a_deleted_or_unknown_video_costs_nothing(self, catalog, videos):
        video_id = videos.uploaded().video_id
        catalog.soft_delete_video(video_id)
        with pytest.raises(VideoDeletedError):
            catalog.reserve_cost(video_id, "run", EXTRACT, 1)
        with pytest.raises(UnknownVideoError):
            catalog.reserve_cost(NOBODY, "run", EXTRACT, 1)


class TestLimits:
    def test_a_tenants_own_limit_goes_before_its_tiers_and_that_before_the_installations(
        self, catalog, tenant
    ):
        def limits() -> tuple:
            costs = catalog.tenant_costs(tenant.tenant_id, video_limit_usd=5, month_limit_usd=100)
            return costs.video_limit_usd, costs.month_limit_usd

        assert limits() == (5, 100)
        assert catalog.set_tier_cost_limits("free", video_usd=2).video_cost_limit_usd == 2
        assert limits() == (2, 100)
        row = catalog.set_tenant_cost_limits(tenant.tenant_id, video_usd=9, month_usd=50.25)
        assert (row.video_cost_limit_usd, row.month_cost_limit_usd) == (9, 50.25)
        assert limits() == (9, 50.25)
        catalog.set_tenant_cost_limits(tenant.tenant_id)
        assert limits() == (2, 100)

    def test_infinity_is_no_limit_whatever_the_tier_says(self, catalog, tenant, videos):
        catalog.set_tier_cost_limits("free", video_usd=0, month_usd=0)
        row = catalog.set_tenant_cost_limits(tenant.tenant_id, video_usd=math.inf, month_usd=math.inf)
        assert row.video_cost_limit_usd == math.inf
        assert catalog.get_tenant(tenant.tenant_id) == row
        costs = catalog.tenant_costs(tenant.tenant_id, video_limit_usd=1, month_limit_usd=1)
        assert (costs.video_limit_usd, costs.month_limit_usd) == (None, None)
        assert catalog.reserve_cost(videos.uploaded().video_id, "run", EXTRACT, 1e6)[0]

    def test_a_tenant_that_is_exempt_from_quotas_has_none(self, catalog, tenant, videos):
        catalog.set_tenant_limits(tenant.tenant_id, Limits(), quota_exempt=True)
        catalog.set_tenant_cost_limits(tenant.tenant_id, video_usd=0, month_usd=0)
        assert catalog.reserve_cost(videos.uploaded().video_id, "run", EXTRACT, 9, video_limit_usd=1)[0]

    def test_a_limit_of_nothing_refuses_everything_that_costs(self, catalog, tenant, videos):
        catalog.set_tenant_cost_limits(tenant.tenant_id, video_usd=0)
        video_id = videos.uploaded().video_id
        assert not catalog.reserve_cost(video_id, "run", EXTRACT, 0.0001)[0]
        assert catalog.reserve_cost(video_id, "run", EXTRACT, 0)[0]

    def test_unknown_tenants_and_negative_amounts_are_refused(self, catalog, tenant):
        with pytest.raises(UnknownTenantError):
            catalog.set_tenant_cost_limits(NOBODY, video_usd=1)
        with pytest.raises(UnknownTenantError):
            catalog.tenant_costs(NOBODY)
        with pytest.raises(InvalidArgumentError, match="tier"):
            catalog.set_tier_cost_limits("gold", video_usd=1)
        with pytest.raises(InvalidArgumentError):
            catalog.set_tenant_cost_limits(tenant.tenant_id, video_usd=-1)


class TestCharging:
    @pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
    def test_a_call_that_ended_is_charged_once(self, catalog, ended, tenant, database, outcome):
        row = ended(outcome=outcome)
        assert row.cost_usd is None
        assert [one.id for one in catalog.uncharged_compute_calls(run_id="crop-run")] == [row.id]
        charged = catalog.charge_compute_call(row.id, 0.25, 61.5, metadata={"gpu": "A10G"})
        assert charged.cost_usd == 0.25
        assert catalog.charge_compute_call(row.id, 9, 9).cost_usd == 0.25
        assert catalog.uncharged_compute_calls() == []
        assert catalog.tenant_costs(tenant.tenant_id).month_spent_usd == 0.25
        (usage,) = database.execute(
            "select metric_type, metric_value::float, cost_estimate_usd::float, metadata, video_id::text"
            " from captionacc.usage_metrics"
        ).fetchall()
        assert usage[:3] == ("container_seconds", 61.5, 0.25) and usage[4] == row.video_id
        assert usage[3] == {
            "gpu": "A10G",
            "function": CROPS,
            "run_id": "crop-run",
            "compute_call_id": row.id,
            "status": outcome,
        }

    def test_a_call_is_charged_to_the_month_in_which_it_ended(self, catalog, ended, tenant, database):
        row = ended()
        database.execute("update captionacc.compute_calls set finished_at = now() - interval '40 days'")
        catalog.charge_compute_call(row.id, 2, 60)
        assert catalog.tenant_costs(tenant.tenant_id).month_spent_usd == 0

    def test_a_call_that_runs_is_not_charged(self, catalog, videos):
        video_id = videos.cropping().video_id
        row = catalog.open_compute_call(video_id, "crop-run", CROPS, "h", WAITER)
        with pytest.raises(WrongStateError, match="not known yet"):
            catalog.charge_compute_call(row.id, 1, 1)
        assert catalog.uncharged_compute_calls() == []
        with pytest.raises(UnknownRequestError):
            catalog.charge_compute_call(NOBODY, 1, 1)

    @pytest.mark.parametrize("wrong", [(-1, 1), (1, -1), (math.nan, 1), (math.inf, 1), (1, math.inf)])
    def test_invalid_amounts_are_refused(self, catalog, ended, wrong):
        with pytest.raises(InvalidArgumentError):
            catalog.charge_compute_call(ended().id, *wrong)

    def test_many_that_charge_at_once_charge_once(self, catalog, ended, tenant):
        row = ended()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda amount: catalog.charge_compute_call(row.id, amount, 1), [1] * 8))
        assert catalog.tenant_costs(tenant.tenant_id).month_spent_usd == 1

    def test_calls_are_found_by_run_and_by_age(self, catalog, ended, database):
        row = ended()
        assert catalog.uncharged_compute_calls(run_id="other") == []
        assert catalog.uncharged_compute_calls(older_than_seconds=60) == []
        database.execute(
            "update captionacc.compute_calls set finished_at = finished_at - interval '2 minutes'"
        )
        assert [one.id for one in catalog.uncharged_compute_calls(older_than_seconds=60)] == [row.id]


class TestReport:
    def test_spending_is_by_tenant_function_and_month(self, catalog, ended, tenant, database):
        first = ended()
        catalog.charge_compute_call(first.id, 0.5, 100)
        catalog.charge_compute_call(ended(first.video_id).id, 0.25, 50)
        catalog.record_usage(
            tenant.tenant_id, "processing_minutes", 2, video_id=first.video_id, metadata={"function": EXTRACT}
        )
        lines = {line.function: line for line in catalog.cost_report(LONG_AGO)}
        assert set(lines) == {CROPS, EXTRACT}
        crops = lines[CROPS]
        assert (crops.tenant_id, crops.tenant, crops.month) == (
            tenant.tenant_id,
            tenant.name,
            datetime.now(UTC).strftime("%Y-%m"),
        )
        assert (crops.calls, crops.container_seconds, crops.cost_usd) == (2, 150, 0.75)
        assert (lines[EXTRACT].calls, lines[EXTRACT].processing_minutes, lines[EXTRACT].cost_usd) == (0, 2, 0)

    def test_months_and_tenants_are_kept_apart(self, catalog, tenant, database):
        catalog.ensure_tenant(NOBODY, "other")
        catalog.record_usage(tenant.tenant_id, "container_seconds", 1, cost_estimate_usd=1)
        database.execute("update captionacc.usage_metrics set recorded_at = '2026-01-31 23:59:59+00'")
        catalog.record_usage(NOBODY, "container_seconds", 1, cost_estimate_usd=3)
        found = [(line.month, line.cost_usd) for line in catalog.cost_report(LONG_AGO)]
        assert found[1:] == [("2026-01", 1)] and found[0][1] == 3
        only = catalog.cost_report(LONG_AGO, tenant_id=tenant.tenant_id)
        assert [line.cost_usd for line in only] == [1]
        assert catalog.cost_report(datetime(2026, 2, 1, tzinfo=UTC), tenant_id=tenant.tenant_id) == []

    def test_without_any_usage_it_is_empty(self, catalog):
        assert catalog.cost_report(LONG_AGO) == []


def test_a_months_spend_is_read_from_the_tenants_own_index(postgres_catalog, tenant, database):
    """The sum grows with the tenant's own month, not with what others or earlier months have."""
    postgres_catalog.ensure_tenant(NOBODY, "other")
    for tenant_id, rows in ((NOBODY, 20_000), (tenant.tenant_id, 50)):
        database.execute(
            "insert into captionacc.usage_metrics (tenant_id, metric_type, metric_value, cost_estimate_usd)"
            " select %s, 'container_seconds', 1, 0.01 from generate_series(1, %s)",
            [tenant_id, rows],
        )
    database.execute("analyze captionacc.usage_metrics")
    (plan,) = database.execute(
        "explain (format json) select sum(cost_estimate_usd) from captionacc.usage_metrics"
        " where tenant_id = %s and cost_estimate_usd > 0 and recorded_at >= date_trunc('month', now())",
        [tenant.tenant_id],
    ).fetchone()
    assert "usage_metrics_tenant_costs" in str(plan)
    assert postgres_catalog.tenant_costs(tenant.tenant_id).month_spent_usd == 0.5
