"""Contract: equal requests to a compute function share one call, whatever happens to the attempts."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from captionacc_dagster.resources.catalog import (
    Catalog,
    CatalogError,
    ComputeCallRow,
    InvalidArgumentError,
    UnknownRequestError,
    UnknownVideoError,
    VideoDeletedError,
    WrongStateError,
)
from modal_gpu.contracts import CropRegion
from tests.full_catalog import connected
from tests.resources.catalog.conftest import STRIP, Videos

CROPS = "crop_and_infer_caption_frame_extents"
A, B, C = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
NOBODY = "11111111-1111-4111-8111-111111111111"
RESULT = {"value": [{"ocr_text": "こんにちは", "confidence": 0.5}]}


@pytest.fixture
def ask(catalog: Catalog, videos: Videos):
    """Open the call of one request of one video; ``ask.again`` for another attempt at it."""
    video_id = videos.cropping().video_id

    def ask(waiter: str = A, run_id: str = "crop-run", request_hash: str = "h", **options) -> ComputeCallRow:
        return catalog.open_compute_call(video_id, run_id, CROPS, request_hash, waiter, **options)

    ask.video_id = video_id
    return ask


def age(database: psycopg.Connection, column: str, seconds: int) -> None:
    database.execute(
        f"update captionacc.compute_calls set {column} = {column} - make_interval(secs => {seconds})"
    )


class TestOneCall:
    def test_a_new_request_is_a_pending_row_before_anything_is_started(self, catalog, ask, tenant):
        row = ask(cropped_frames_version=3)
        assert (row.status, row.call_id, row.waiter, row.attempts) == ("pending", None, A, 1)
        assert (row.tenant_id, row.run_id, row.cropped_frames_version) == (tenant.tenant_id, "crop-run", 3)
        assert catalog.get_compute_call(row.id) == row

    def test_asking_again_with_the_same_token_changes_nothing(self, ask):
        assert ask() == ask()

    def test_a_later_attempt_finds_the_call_that_runs_and_becomes_its_waiter(self, catalog, ask):
        row = catalog.assign_compute_call(ask().id, A, "fc-1")
        found = ask(B, "second-run")
        assert (found.id, found.call_id, found.status) == (row.id, "fc-1", "running")
        assert (found.run_id, found.waiter, found.attempts) == ("second-run", B, 2)

    @pytest.mark.parametrize("difference", ["video", "function", "hash"])
    def test_another_request_is_another_call(self, catalog, ask, videos, difference):
        video_id = videos.uploaded().video_id if difference == "video" else ask.video_id
        other = catalog.open_compute_call(
            video_id,
            "crop-run",
            "generate_caption_ocr" if difference == "function" else CROPS,
            "h2" if difference == "hash" else "h",
            B,
        )
        assert other.id != ask().id

    def test_many_that_ask_at_once_get_one_row_and_one_may_start_it(self, ask):
        barrier = threading.Barrier(8)

        def attempt(number: int) -> ComputeCallRow:
            barrier.wait(10)
            return ask(str(uuid.UUID(int=100 + number)))

        with ThreadPoolExecutor(8) as threads:
            rows = list(threads.map(attempt, range(8)))
        assert len({row.id for row in rows}) == 1
        assert len({row.waiter for row in rows}) == 1

    def test_a_call_that_was_not_started_in_time_may_be_started_by_the_next_attempt(
        self, catalog, ask, database
    ):
        first = ask()
        assert ask(B).waiter == A, "the first attempt may be just about to start it"
        age(database, "opened_at", 31)
        found = ask(B, "second-run")
        assert (found.id, found.waiter, found.status) == (first.id, B, "pending")
        with pytest.raises(WrongStateError, match="may not be started by this attempt"):
            catalog.assign_compute_call(first.id, A, "fc-late")
        assert catalog.assign_compute_call(first.id, B, "fc-2").call_id == "fc-2"

    def test_assigning_the_same_id_twice_is_harmless_and_another_is_refused(self, catalog, ask):
        row = catalog.assign_compute_call(ask().id, A, "fc-1")
        assert catalog.assign_compute_call(row.id, A, "fc-1") == row
        with pytest.raises(WrongStateError):
            catalog.assign_compute_call(row.id, A, "fc-2")

    def test_a_run_that_was_cancelled_starts_nothing(self, catalog, ask):
        catalog.cancel_stage(ask.video_id, "boundaries", "ann")
        with pytest.raises(WrongStateError, match="was cancelled"):
            ask()

    def test_a_deleted_or_unknown_video_has_no_calls(self, catalog, ask):
        catalog.soft_delete_video(ask.video_id)
        with pytest.raises(VideoDeletedError):
            ask()
        with pytest.raises(UnknownVideoError):
            catalog.open_compute_call(NOBODY, "run", CROPS, "h", A)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"run_id": ""},
            {"request_hash": ""},
            {"backend": "cloud"},
            {"spawn_grace_seconds": -1},
            {"life_seconds": 0},
        ],
    )
    def test_an_invalid_value_is_refused(self, ask, wrong):
        with pytest.raises(InvalidArgumentError):
            ask(**wrong)


class TestEnds:
    @pytest.fixture
    def running(self, catalog, ask) -> ComputeCallRow:
        return catalog.assign_compute_call(ask().id, A, "fc-1")

    def test_the_result_is_kept_for_a_later_attempt_until_it_is_settled(self, catalog, ask, running):
        usage = {"gpu": "A10G", "seconds": 12.5}
        done = catalog.finish_compute_call(running.id, A, RESULT, usage)
        assert (done.status, done.result, done.usage, done.finished_by) == ("succeeded", RESULT, usage, A)
        assert done.finished_at is not None
        taken = ask(B, "second-run")
        assert (taken.id, taken.status, taken.result, taken.run_id) == (
            running.id,
            "succeeded",
            RESULT,
            "second-run",
        )
        assert catalog.settle_compute_calls(ask.video_id, "crop-run") == 0, "the second run waits for it now"
        assert catalog.settle_compute_calls(ask.video_id, "second-run") == 1
        assert catalog.settle_compute_calls(ask.video_id, "second-run") == 1
        new = ask(C)
        assert (new.status, new.id != running.id) == ("pending", True)

    def test_a_result_is_taken_once(self, catalog, ask, running):
        ask(B, "second-run")
        late = catalog.finish_compute_call(running.id, A, RESULT)
        again = catalog.finish_compute_call(running.id, B, {"value": "another"})
        assert again == late
        assert (again.finished_by, again.result) == (A, RESULT)

    def test_a_failed_call_is_not_reused(self, catalog, ask, running):
        failed = catalog.fail_compute_call(running.id, A, "out of\0 memory", "RemoteCallError", {"gpu": "T4"})
        assert (failed.status, failed.usage) == ("failed", {"gpu": "T4"})
        assert failed.error_details["message"] == "out of memory"
        assert failed.error_details["error_type"] == "RemoteCallError"
        assert catalog.fail_compute_call(running.id, A, "again") == failed
        with pytest.raises(WrongStateError, match="failed"):
            catalog.finish_compute_call(running.id, A, RESULT)
        assert ask(B).status == "pending"

    def test_a_cancelled_call_is_not_taken_and_waits_to_be_confirmed(self, catalog, ask, running):
        with pytest.raises(WrongStateError, match="not cancelled"):
            catalog.confirm_compute_call_cancelled(running.id)
        cancelled = catalog.cancel_compute_call(running.id, A, "the run was cancelled")
        assert cancelled.status == "cancelled"
        assert cancelled.error_details["message"] == "the run was cancelled"
        assert catalog.undelivered_compute_cancellations() == [cancelled]
        with pytest.raises(WrongStateError, match="cancelled"):
            catalog.finish_compute_call(running.id, A, RESULT)
        confirmed = catalog.confirm_compute_call_cancelled(running.id)
        assert catalog.confirm_compute_call_cancelled(running.id) == confirmed
        assert catalog.undelivered_compute_cancellations() == []
        assert ask(B).status == "pending"

    def test_an_attempt_that_was_followed_by_another_neither_fails_nor_cancels(self, catalog, ask, running):
        found = ask(B, "second-run")
        assert catalog.fail_compute_call(running.id, A, "gave up") == found
        assert catalog.cancel_compute_call(running.id, A, "terminated") == found
        assert catalog.cancel_compute_call(running.id, B).status == "cancelled"

    def test_upkeep_cancels_without_being_the_waiter(self, catalog, running):
        assert catalog.cancel_compute_call(running.id, message="its run is dead").status == "cancelled"

    @pytest.mark.parametrize("ended", ["running", "succeeded"])
    def test_old_calls_are_left_alone(self, catalog, ask, running, database, ended):
        if ended == "succeeded":
            catalog.finish_compute_call(running.id, A, RESULT)
            age(database, "finished_at", 86_401)
        age(database, "created_at", 86_401)
        new = ask(B)
        assert (new.status, new.id != running.id) == ("pending", True)
        old = catalog.get_compute_call(running.id)
        assert (old.status, old.settled_at is None) == (
            ("failed", True) if ended == "running" else ("succeeded", False)
        )

    def test_an_unknown_call_is_refused(self, catalog):
        for call in (
            lambda: catalog.get_compute_call(NOBODY),
            lambda: catalog.assign_compute_call(NOBODY, A, "fc"),
            lambda: catalog.finish_compute_call(NOBODY, A, RESULT),
            lambda: catalog.fail_compute_call(NOBODY, A, "why"),
            lambda: catalog.cancel_compute_call(NOBODY),
            lambda: catalog.confirm_compute_call_cancelled(NOBODY),
        ):
            with pytest.raises(UnknownRequestError):
                call()

    def test_calls_are_listed_by_video_run_age_and_whether_they_are_open(self, catalog, ask, running):
        other = ask(B, "crop-run", "h2")
        catalog.finish_compute_call(running.id, A, RESULT)
        listed = catalog.list_compute_calls
        assert [row.id for row in listed(video_id=ask.video_id)] == [running.id, other.id]
        assert [row.id for row in listed(run_id="crop-run", open_only=True)] == [other.id]
        assert [row.id for row in listed(created_before=other.created_at)] == [running.id]
        assert [row.id for row in listed(limit=1)] == [running.id]
        assert listed(run_id="other") == listed(video_id=NOBODY) == []


class TestVersions:
    """A second attempt continues the version whose calls the first one started."""

    def allot(self, catalog: Catalog, video_id: str, run_id: str, region: CropRegion = STRIP) -> int:
        catalog.begin_stage(video_id, "boundaries", run_id)
        return catalog.allot_cropped_frames_version(video_id, run_id, region)

    def statuses(self, catalog: Catalog, video_id: str) -> list[str]:
        return [version.status for version in catalog.list_cropped_frames_versions(video_id)]

    @pytest.mark.parametrize("state", ["pending", "running", "succeeded"])
    def test_it_is_taken_over_while_a_call_for_it_lasts(self, catalog, ask, state):
        version = self.allot(catalog, ask.video_id, "crop-run")
        row = ask(cropped_frames_version=version)
        if state != "pending":
            catalog.assign_compute_call(row.id, A, "fc-1")
        if state == "succeeded":
            catalog.finish_compute_call(row.id, A, RESULT)
        assert self.allot(catalog, ask.video_id, "second-run") == version
        (found,) = catalog.list_cropped_frames_versions(ask.video_id)
        assert (found.status, found.run_id) == ("processing", "second-run")
        active = catalog.activate_cropped_frames_version(
            ask.video_id, version, chunk_count=1, total_frames=1, total_size_bytes=1
        )
        assert active.status == "active"

    @pytest.mark.parametrize("ended", ["failed", "cancelled", "settled", "other function", "none"])
    def test_without_such_a_call_a_new_number_is_allotted(self, catalog, ask, ended):
        version = self.allot(catalog, ask.video_id, "crop-run")
        if ended == "other function":
            catalog.open_compute_call(
                ask.video_id, "crop-run", "generate_caption_ocr", "h", A, cropped_frames_version=version
            )
        elif ended != "none":
            row = catalog.assign_compute_call(ask(cropped_frames_version=version).id, A, "fc-1")
            if ended == "failed":
                catalog.fail_compute_call(row.id, A, "why")
            elif ended == "cancelled":
                catalog.cancel_compute_call(row.id)
            else:
                catalog.finish_compute_call(row.id, A, RESULT)
                catalog.settle_compute_calls(ask.video_id, "crop-run")
        assert self.allot(catalog, ask.video_id, "second-run") == version + 1
        assert self.statuses(catalog, ask.video_id) == ["failed", "processing"]

    def test_another_region_gets_a_version_of_its_own(self, catalog, ask):
        version = self.allot(catalog, ask.video_id, "crop-run")
        ask(cropped_frames_version=version)
        other = CropRegion(0.0, 0.7, 1.0, 0.95)
        catalog.approve_layout(ask.video_id, "ann", other)
        assert self.allot(catalog, ask.video_id, "second-run", other) == version + 1

    def test_the_first_run_can_no_longer_fail_what_the_second_works_on(self, catalog, ask):
        version = self.allot(catalog, ask.video_id, "crop-run")
        ask(cropped_frames_version=version)
        self.allot(catalog, ask.video_id, "second-run")
        kept = catalog.fail_cropped_frames_version(ask.video_id, version, "terminated", run_id="crop-run")
        assert kept.status == "processing"
        catalog.activate_cropped_frames_version(
            ask.video_id, version, chunk_count=1, total_frames=1, total_size_bytes=1
        )
        late = catalog.fail_cropped_frames_version(ask.video_id, version, "terminated", run_id="crop-run")
        assert late.status == "active"

    def test_a_run_fails_its_own_version(self, catalog, ask):
        version = self.allot(catalog, ask.video_id, "crop-run")
        failed = catalog.fail_cropped_frames_version(ask.video_id, version, "why", run_id="crop-run")
        assert failed.status == "failed"


class Attempts(RuleBasedStateMachine):
    """Attempts at one request that open, start, finish, fail and cancel in any order, some of them late.

    The backend is a counter: it starts a call, and cancels one that turns out not to be
    wanted. Never are two of its calls wanted at once, and never is a settled result handed out.
    """

    dsn: str

    @initialize()
    def empty(self) -> None:
        self.catalog = connected(self.dsn)
        self.database = psycopg.connect(self.dsn, autocommit=True)
        self.database.execute("delete from captionacc.compute_calls")
        self.waiters: list[tuple[str, str]] = []
        self.started: dict[str, str] = {}
        self.settled: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.close()
            self.database.close()

    def pick(self, number: int) -> tuple[str, str] | None:
        return self.waiters[number % len(self.waiters)] if self.waiters else None

    @rule(elapsed=st.sampled_from([0, 40]), run=st.sampled_from(["a", "b"]))
    def open(self, elapsed: int, run: str) -> None:
        if elapsed:
            age(self.database, "opened_at", elapsed)
        waiter = str(uuid.uuid4())
        row = self.catalog.open_compute_call(self.video_id, run, CROPS, "h", waiter)
        assert row.id not in self.settled
        assert row.status in ("pending", "running", "succeeded")
        assert row.waiter == waiter or (row.status == "pending" and not elapsed)
        self.waiters.append((row.id, waiter))

    @rule(number=st.integers(0, 9))
    def start(self, number: int) -> None:
        if not (attempt := self.pick(number)):
            return
        call_id = f"fc-{uuid.uuid4()}"
        before = self.catalog.get_compute_call(attempt[0])
        try:
            self.catalog.assign_compute_call(*attempt, call_id)
        except WrongStateError:
            assert before.status != "pending" or before.waiter != attempt[1]
        else:
            assert attempt[0] not in self.started, "one call was started twice"
            self.started[attempt[0]] = call_id

    @rule(number=st.integers(0, 9), end=st.sampled_from(["finish", "fail", "cancel"]))
    def end(self, number: int, end: str) -> None:
        if not (attempt := self.pick(number)):
            return
        before = self.catalog.get_compute_call(attempt[0])
        if end == "finish":
            try:
                after = self.catalog.finish_compute_call(*attempt, {"value": attempt[1]})
            except CatalogError:
                assert before.status not in ("running", "succeeded")
                return
            assert after.result == (before.result or {"value": attempt[1]})
        else:
            after = getattr(self.catalog, f"{end}_compute_call")(*attempt, "why")
            assert after == before or (before.is_open and before.waiter == attempt[1])

    @rule(run=st.sampled_from(["a", "b"]))
    def settle(self, run: str) -> None:
        self.catalog.settle_compute_calls(self.video_id, run)
        rows = self.catalog.list_compute_calls(video_id=self.video_id, limit=10_000)
        self.settled = {row.id for row in rows if row.settled_at}

    @invariant()
    def at_most_one_call_is_open(self) -> None:
        if hasattr(self, "catalog"):
            assert len(self.catalog.list_compute_calls(video_id=self.video_id, open_only=True)) <= 1


def test_whatever_attempts_do_a_request_has_one_call(postgres_dsn, videos):
    class Machine(Attempts):
        dsn = postgres_dsn
        video_id = videos.cropping().video_id

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
