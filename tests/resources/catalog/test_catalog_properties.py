"""Contract: whatever several connections do, in whatever order and at once, no illegal state is reached.

Hypothesis drives random transitions; some steps let several connections act at the same moment. A
trigger of the test records every change of a stage's status, so that no step in between is missed.
"""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from captionacc_dagster.resources.catalog import (
    STAGES,
    CatalogError,
    CatalogUnavailableError,
    LayoutOutcome,
    LockHeldError,
)
from modal_gpu.contracts import CropRegion
from modal_gpu.errors import CaptionAccError
from tests.full_catalog import FullCatalog, connected

TENANT = "22222222-2222-4222-8222-222222222222"
REGIONS = (CropRegion(0.1, 0.8, 0.9, 0.95), CropRegion(0.0, 0.7, 1.0, 1.0))
RUNS = ("run a", "run b", "run c")
CONNECTIONS = 3

#: From state to state, as the contracts draw it. A new crop region sends what follows back to wait.
LEGAL = {
    "layout": {
        ("wait", "annotate"), ("wait", "done"), ("wait", "error"), ("annotate", "done"),
        ("annotate", "error"), ("done", "error"), ("error", "wait"),
    },
    "boundaries": {
        ("wait", "annotate"), ("wait", "error"), ("annotate", "done"), ("annotate", "error"),
        ("done", "error"), ("done", "annotate"), ("error", "wait"), ("annotate", "wait"), ("done", "wait"),
    },
    "text": {
        ("wait", "annotate"), ("wait", "error"), ("annotate", "done"), ("annotate", "error"),
        ("done", "error"), ("done", "annotate"), ("error", "wait"), ("annotate", "wait"), ("done", "wait"),
    },
}  # fmt: skip

_WATCH = """
create table if not exists captionacc.test_transitions
    (id bigint generated always as identity, video_id uuid, stage text, old text, new text);
create or replace function captionacc.test_watch() returns trigger language plpgsql as $$
declare
    stage text;
begin
    foreach stage in array array['layout', 'boundaries', 'text'] loop
        insert into captionacc.test_transitions (video_id, stage, old, new)
        select new.id, stage, to_jsonb(old) ->> (stage || '_status'), to_jsonb(new) ->> (stage || '_status')
        where to_jsonb(old) ->> (stage || '_status') <> to_jsonb(new) ->> (stage || '_status');
    end loop;
    return null;
end
$$;
create or replace trigger test_watch after update on captionacc.videos
    for each row execute function captionacc.test_watch();
"""

#: Rows that must not exist, each with what is wrong with it.
_ILLEGAL = {
    "two active or processing versions": """
        select video_id from captionacc.cropped_frames_versions
        where status in ('active', 'processing') group by video_id, status having count(*) > 1""",
    "a current version that is not the active one": """
        select v.id from captionacc.videos v
        left join captionacc.cropped_frames_versions a on a.video_id = v.id and a.status = 'active'
        where v.current_cropped_frames_version is distinct from a.version""",
    "a deleted video in work": """
        select id from captionacc.videos
        where deleted_at is not null
            and num_nonnulls(layout_run_id, boundaries_run_id, text_run_id) > 0""",
    "an error without details, or details without an error": """
        select id from captionacc.videos
        where (layout_status = 'error') <> (layout_error_details is not null)
            or (boundaries_status = 'error') <> (boundaries_error_details is not null)
            or (text_status = 'error') <> (text_error_details is not null)""",
    "captions without an approved layout or frames": """
        select id from captionacc.videos
        where boundaries_status in ('annotate', 'done')
            and (crop_region is null or current_cropped_frames_version is null)""",
    "text ahead of its captions": """
        select id from captionacc.videos
        where text_status in ('annotate', 'done')
            and (text_caption_count is null or caption_count is null)""",
    "counters that do not count": """
        select t.id from captionacc.tenants t, lateral (
            select count(*) as count, coalesce(sum(v.size_bytes), 0) as bytes from captionacc.videos v
            where v.tenant_id = t.id and v.accepted_at is not null and v.deleted_at is null
        ) counted
        where t.accepted_video_count <> counted.count or t.accepted_bytes <> counted.bytes""",
    "a request for captions that are gone": """
        select r.id from captionacc.caption_ocr_requests r join captionacc.videos v on v.id = r.video_id
        where r.status in ('queued', 'processing') and v.deleted_at is not null""",
}


class Transitions(RuleBasedStateMachine):
    """Every rule is one call of the catalogue; refusals are as good as successes, other errors are not."""

    dsn: str

    @initialize()
    def start(self) -> None:
        self.database = psycopg.connect(self.dsn, autocommit=True)
        self.database.execute("set session_replication_role = replica")
        for table in ("run_cancellations", "caption_ocr_requests", "cropped_frames_versions",
                      "video_database_state", "test_transitions", "videos", "tenants"):  # fmt: skip
            self.database.execute(f"delete from captionacc.{table}")
        self.catalogs = [connected(self.dsn, max_connections=2) for _ in range(CONNECTIONS)]
        self.catalogs[0].ensure_tenant(TENANT, "tenant")
        self.videos = [str(uuid.uuid4()) for _ in range(2)]
        for video_id in self.videos:
            self.catalogs[0].register_video(TENANT, video_id, f"{TENANT}/{video_id}", 1000, "a.mp4")
        self.held: list = []
        self.seen_versions: dict[str, int] = {}

    def teardown(self) -> None:
        for catalog in getattr(self, "catalogs", []):
            catalog.close()
        if hasattr(self, "database"):
            self.database.close()

    # -- what can be done, as functions of a catalogue ---------------------------------------

    @staticmethod
    def _step(video_id: str, kind: str, stage: str, run: str, region: CropRegion) -> Callable:
        outcome = LayoutOutcome(
            duration_seconds=8, width=640, height=360, video_codec="h264", frame_count=80,
            layout_found=True, layout_confidence=0.5, crop_region=region,
        )  # fmt: skip

        def whole_boundaries(catalog: FullCatalog) -> None:
            catalog.begin_stage(video_id, "boundaries", run)
            version = catalog.allot_cropped_frames_version(video_id, run, region)
            catalog.activate_cropped_frames_version(
                video_id, version, chunk_count=1, total_frames=1, total_size_bytes=1
            )
            catalog.finish_boundaries(video_id, run, version=version, caption_count=2)

        def whole_text(catalog: FullCatalog) -> None:
            catalog.begin_stage(video_id, "text", run)
            catalog.finish_text(video_id, run, caption_count=2)

        def whole_layout(catalog: FullCatalog) -> None:
            catalog.begin_stage(video_id, "layout", run)
            catalog.finish_layout(video_id, run, outcome)

        def activate(catalog: FullCatalog) -> None:
            versions = catalog.list_cropped_frames_versions(video_id)
            if versions:
                catalog.activate_cropped_frames_version(
                    video_id, versions[-1].version, chunk_count=1, total_frames=1, total_size_bytes=1
                )

        def finish_ocr(catalog: FullCatalog) -> None:
            for request in catalog.list_caption_ocr_requests(video_id):
                catalog.begin_caption_ocr_request(request.id, run)
                catalog.finish_caption_ocr_request(request.id, run, caption_count=1)

        return {
            "claim": lambda c: c.claim_new_videos(2, restart_after_seconds=0, max_unstarted=3),
            "claim one": lambda c: c.claim_new_video(video_id),
            "claim approvals": lambda c: c.pending_layout_approvals(2, restart_after_seconds=0),
            "claim text": lambda c: c.pending_text(2, restart_after_seconds=0),
            "begin": lambda c: c.begin_stage(video_id, stage, run),
            "begin politely": lambda c: c.begin_stage(video_id, stage, run, take_over=False),
            "fail": lambda c: c.fail_stage(video_id, stage, run, "broken"),
            "retry": lambda c: c.retry_stage(video_id, stage),
            "cancel": lambda c: c.cancel_stage(video_id, stage, "ann"),
            "finish layout": lambda c: c.finish_layout(video_id, run, outcome),
            "lay out": whole_layout,
            "approve": lambda c: c.approve_layout(video_id, "ann", region),
            "allot": lambda c: c.allot_cropped_frames_version(video_id, run, region),
            "activate": activate,
            "archive": lambda c: c.archive_cropped_frames_version(video_id, 1),
            "fail version": lambda c: c.fail_cropped_frames_version(video_id, 1, "broken"),
            "find captions": whole_boundaries,
            "read text": whole_text,
            "review": lambda c: c.complete_review(video_id, "boundaries" if stage == "layout" else stage),
            "ask for text": lambda c: c.request_caption_ocr(video_id, [1, 2]),
            "answer for text": finish_ocr,
        }[kind]

    KINDS = (
        "claim", "claim one", "claim approvals", "claim text", "begin", "begin politely", "fail", "retry",
        "cancel", "finish layout", "lay out", "approve", "allot", "activate", "archive", "fail version",
        "find captions", "read text", "review", "ask for text", "answer for text",
    )  # fmt: skip
    STEPS = st.tuples(
        st.integers(0, 1),
        st.sampled_from(KINDS),
        st.sampled_from(STAGES),
        st.sampled_from(RUNS),
        st.sampled_from(REGIONS),
    )

    def _call(self, catalog: FullCatalog, step: Callable) -> None:
        try:
            step(catalog)
        except CatalogUnavailableError:
            raise
        except CaptionAccError as error:
            # Refused for the state it is in; not for a broken constraint, a deadlock or a missing function.
            assert type(error) is not CatalogError, error

    @rule(step=STEPS, connection=st.integers(0, CONNECTIONS - 1))
    def one(self, step: tuple, connection: int) -> None:
        self._call(self.catalogs[connection], self._step(self.videos[step[0]], *step[1:]))

    @rule(steps=st.lists(STEPS, min_size=2, max_size=CONNECTIONS))
    def at_once(self, steps: list[tuple]) -> None:
        barrier = threading.Barrier(len(steps))

        def act(number: int) -> None:
            step = steps[number]
            barrier.wait(10)
            self._call(self.catalogs[number], self._step(self.videos[step[0]], *step[1:]))

        with ThreadPoolExecutor(len(steps)) as threads:
            list(threads.map(act, range(len(steps))))

    @rule(number=st.integers(0, 1))
    def bring_to_review(self, number: int) -> None:
        """The usual way, so that late states are reached often."""
        for kind in ("lay out", "approve", "find captions", "read text"):
            step = self._step(self.videos[number], kind, "layout", "run a", REGIONS[0])
            with suppress(CaptionAccError):
                step(self.catalogs[0])

    @rule(number=st.integers(0, 1))
    def delete(self, number: int) -> None:
        self.catalogs[1].soft_delete_video(self.videos[number])
        # Another one takes its place, or nothing would be left to do.
        self.videos[number] = str(uuid.uuid4())
        self.catalogs[1].register_video(
            TENANT, self.videos[number], f"{TENANT}/{self.videos[number]}", 1000, "a.mp4"
        )

    @rule(number=st.integers(0, 1), takers=st.integers(1, CONNECTIONS), expire=st.booleans())
    def take_lock(self, number: int, takers: int, expire: bool) -> None:
        if expire:
            self.database.execute(
                "update captionacc.video_database_state set lock_expires_at = now() - interval '1 s'"
                " where video_id = %s and lock_token is not null", [self.videos[number]],
            )  # fmt: skip
            self.held = [token for token in self.held if token.video_id != self.videos[number]]
        free = not any(token.video_id == self.videos[number] for token in self.held)
        barrier = threading.Barrier(takers)

        def take(taker: int):
            barrier.wait(10)
            try:
                return self.catalogs[taker].take_lock(self.videos[number], "captions", f"taker {taker}", 60)
            except LockHeldError:
                return None

        with ThreadPoolExecutor(takers) as threads:
            tokens = [token for token in threads.map(take, range(takers)) if token]
        assert len(tokens) == int(free), "one holder if it was free, none if it was held"
        self.held += tokens

    @rule(connection=st.integers(0, CONNECTIONS - 1))
    def release_lock(self, connection: int) -> None:
        if self.held:
            assert self.catalogs[connection].release_lock(self.held.pop())

    # -- what must hold after every step -----------------------------------------------------

    @invariant()
    def no_row_is_illegal(self) -> None:
        if not hasattr(self, "videos"):
            return
        for wrong, query in _ILLEGAL.items():
            assert self.database.execute(query).fetchall() == [], wrong

    @invariant()
    def every_transition_was_legal(self) -> None:
        if not hasattr(self, "videos"):
            return
        rows = self.database.execute("delete from captionacc.test_transitions returning stage, old, new")
        for stage, old, new in rows.fetchall():
            assert (old, new) in LEGAL[stage], f"{stage}: {old} → {new}"

    @invariant()
    def version_numbers_only_grow(self) -> None:
        for video_id in getattr(self, "videos", []):
            (newest,) = self.database.execute(
                "select coalesce(max(version), 0) from captionacc.cropped_frames_versions"
                " where video_id = %s",
                [video_id],
            ).fetchone()
            assert newest >= self.seen_versions.get(video_id, 0)
            self.seen_versions[video_id] = newest


@pytest.fixture
def watched_dsn(postgres_dsn: str):
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(_WATCH)
        yield postgres_dsn
        connection.execute("drop trigger test_watch on captionacc.videos")
        connection.execute("drop function captionacc.test_watch; drop table captionacc.test_transitions")


@pytest.mark.slow
def test_random_transitions_from_several_connections_reach_no_illegal_state(watched_dsn):
    class Machine(Transitions):
        dsn = watched_dsn

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            # Threads decide some orders, so a failure need not repeat itself while it is being shrunk.
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
