"""Videos in each state and with each defect are planned, adopted, and keep what people did."""

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest

from captionacc_dagster.adoption.adopting import Adoption, check_stores
from captionacc_dagster.adoption.apply import Adopter
from captionacc_dagster.adoption.errors import PredecessorError
from captionacc_dagster.adoption.events import adopted_assets
from captionacc_dagster.adoption.plan import Planner
from captionacc_dagster.adoption.predecessor import Predecessor
from captionacc_dagster.adoption.read_only import ReadOnlyStore, SupabaseTables
from captionacc_dagster.assets.restoration import ASSETS
from captionacc_dagster.resources.catalog import STAGES
from modal_gpu.databases.captions import read_captions
from modal_gpu.databases.layout import read_layout
from modal_gpu.frame_index import chunks
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore
from tests.adoption import old_captions, old_videos
from tests.adoption import old_databases as old
from tests.adoption.checks import lost_edits, statuses
from tests.adoption.old_videos import KINDS, WHOLE, Made
from tests.adoption.old_world import OldWorld
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line
from tests.postgrest.server import PostgrestServer, make_key
from tests.run_results import failure


@pytest.fixture
def made(world: OldWorld) -> list[Made]:
    """One video of each kind, of two tenants."""
    tenants = [world.tenant("Acme", "active"), world.tenant("Globex")]
    return old_videos.make_all(world, tenants, len(KINDS))


def state_of(line: Line, video_id: str) -> list[str]:
    row = line.catalog.get_video(video_id)
    return [row.stage(stage).status for stage in STAGES]


def test_the_plan_says_of_each_video_what_becomes_of_it(made: list[Made], planner: Planner):
    plans = {plan.video.video_id: plan for plan in planner.plans()}
    assert {one.kind: plans[one.video_id].verdict for one in made} == {one.kind: one.verdict for one in made}
    for one in made:
        plan = plans[one.video_id]
        assert plan.reasons or plan.verdict in ("as_is", "converted"), one.kind
        if plan.verdict == "refused":
            assert not plan.runs and not plan.parts
        elif plan.verdict == "run":
            assert plan.usd > 0, one.kind
            assert any(part.outcome == "run" and part.detail for part in plan.parts)
    by_kind = {one.kind: plans[one.video_id] for one in made}
    assert by_kind["tails_lost"].reasons[0] == "chunks: 24 of its 184 cropped frames are in no chunk"
    assert [run.function for run in by_kind["captions_predicted"].runs] == ["generate_caption_ocr"]
    assert by_kind["captions_edited"].runs == ()
    assert [run.function for run in by_kind["approved"].runs] == [
        "crop_and_infer_caption_frame_extents",
        "generate_caption_ocr",
    ]


def test_a_plan_changes_nothing_here_or_there(made, planner: Planner, world: OldWorld, line: Line):
    before = world.snapshot()
    list(planner.plans())
    assert world.snapshot() == before
    assert line.catalog.list_videos() == []
    assert list(line.store.list()) == []


def test_every_kind_is_adopted_twice_with_the_same_end_and_no_edit_is_lost(
    made: list[Made], adoption: Adoption, world: OldWorld, line: Line
):
    before = world.snapshot()
    first = list(adoption.run(adoption.planner.plans()))
    wanted = {one.video_id: "refused" if one.verdict == "refused" else "adopted" for one in made}
    assert {result.plan.video.video_id: result.state for result in first} == wanted
    there = [one for one in made if one.verdict != "refused"]
    assert [loss for one in there for loss in lost_edits(one, line)] == []
    end = picture(line)
    again = list(adoption.run(adoption.planner.plans()))
    assert {result.state for result in again} == {"unchanged", "refused"}
    assert picture(line) == end
    assert world.snapshot() == before


def picture(line: Line) -> tuple:
    """All that an adoption leaves: rows, objects, partitions and events."""
    rows = [
        (row.video_id, row.updated_at, state_of(line, row.video_id)) for row in line.catalog.list_videos(1000)
    ]
    objects = sorted((info.key, info.etag) for info in line.store.list())
    counts = {
        name: line.instance.fetch_materializations(dg.AssetKey(name), limit=5000).records.__len__()
        for name in ASSETS
    }
    return sorted(rows), objects, sorted(line.instance.get_dynamic_partitions("videos")), counts


def test_the_rows_are_in_the_states_that_their_files_allow(made: list[Made], adoption: Adoption, line: Line):
    list(adoption.run(adoption.planner.plans()))
    states = {one.kind: state_of(line, one.video_id) for one in made if one.verdict != "refused"}
    assert states == {
        "waiting": ["wait", "wait", "wait"],
        "odd_storage_key": ["wait", "wait", "wait"],
        "layout_failed": ["wait", "wait", "wait"],
        "too_short_for_frames": ["wait", "wait", "wait"],
        "facts_not_in_the_row": ["wait", "wait", "wait"],
        "laid_out": ["annotate", "wait", "wait"],
        "in_review": ["annotate", "wait", "wait"],
        "labelled": ["annotate", "wait", "wait"],
        "labelled_in_pixels": ["annotate", "wait", "wait"],
        "labels_in_their_own_table": ["annotate", "wait", "wait"],
        "approved": ["done", "wait", "wait"],
        "approved_in_pixels": ["done", "wait", "wait"],
        "approved_in_the_file_only": ["done", "wait", "wait"],
        "boundaries_failed": ["done", "wait", "wait"],
        "tails_lost": ["done", "wait", "wait"],
        "chunks_overlap": ["done", "wait", "wait"],
        "pairs_missing": ["done", "wait", "wait"],
        "labels_invented": ["done", "wait", "wait"],
        "captions_predicted": ["done", "annotate", "wait"],
        "captions_missing": ["done", "annotate", "wait"],
        "texts_failed": ["done", "annotate", "wait"],
        "captions_edited": ["done", "annotate", "annotate"],
        "lock_left_behind": ["done", "annotate", "annotate"],
        "captions_reviewed": ["done", "done", "done"],
    }
    names = {tenant.tenant_id: tenant.name for tenant in adoption.planner.tenants.values()}
    (owner,) = next(users for one, users in adoption.planner.profiles.items() if names[one] == "Acme")
    profile = line.catalog.get_profile(owner.user_id)
    assert profile is not None
    assert (profile.role, profile.approval_status, profile.is_platform_admin) == ("owner", "approved", False)
    assert adoption.profiles == 2
    acme, globex = (line.catalog.find_tenants(name)[0] for name in ("Acme", "Globex"))
    assert (acme.tier, globex.tier) == ("premium", "free")


@pytest.mark.parametrize("status", ["wait", "error"])
def test_an_approval_outlives_a_layout_that_is_made_again(
    adoption: Adoption, world: OldWorld, line: Line, status: str
):
    """The flow was run again after a person approved its layout, and did not end, or failed."""
    made = old_videos.approved_in_the_file_only(world, world.tenant("Acme"), "a.mp4")
    world.update(made.video_id, layout_status=status)
    (result,) = adoption.run(adoption.planner.plans())
    assert [run.function for run in result.plan.runs] == [
        "extract_frames_and_ocr",
        "crop_and_infer_caption_frame_extents",
        "generate_caption_ocr",
    ]
    assert list(lost_edits(made, line)) == []
    assert state_of(line, made.video_id) == ["wait", "wait", "wait"]


def test_a_review_of_captions_that_are_made_again_does_not_count_as_kept(world: OldWorld, planner: Planner):
    made = old_videos.captions_reviewed(world, world.tenant("Acme"), "a.mp4")
    (plan,) = planner.plans()
    assert plan.captions.reviewed == made.reviewed
    made.folder.server("caption_frame_extents.db.gz", old.extents(WHOLE, old_captions.RANGES, without=(77,)))
    (plan,) = planner.plans()
    assert (plan.verdict, plan.captions.reviewed, plan.captions.of_people) == ("run", (), 6)
    assert "it was reviewed, and has to be reviewed again after the run" in plan.reasons


def test_a_complete_video_has_what_readers_read(adoption: Adoption, world: OldWorld, line: Line):
    made = old_videos.captions_edited(world, world.tenant("Acme"), "Der Film.mp4")
    list(adoption.run(adoption.planner.plans()))
    row = line.catalog.get_video(made.video_id)
    keys = VideoKeys(row.tenant_id, row.video_id)
    (version,) = line.catalog.list_cropped_frames_versions(made.video_id)
    assert (version.status, version.total_frames, version.chunk_count) == ("active", WHOLE, 16)
    assert all(line.store.exists(keys.chunk(version.version, ref)) for ref in chunks(WHOLE))
    assert line.store.exists(keys.full_frame(100)) and line.store.exists(keys.thumbnail(100))
    assert b"Hello, world" in line.store.get(keys.srt)
    made_by = line.catalog.current_inference_run(made.video_id)
    assert made_by is not None
    assert made_by.model_version == "mrn0fkfd_a4b1a61c"
    assert row.partition_key == f"Der_Film.mp4~{made.video_id}"
    assert (row.caption_count, row.text_caption_count) == (6, 4)
    layout = read_layout(line.store.get(keys.layout_db))
    assert layout.layout_approved


def test_lineage_shows_materialized_and_fresh_assets(adoption: Adoption, world: OldWorld, line: Line):
    tenant = world.tenant("Acme")
    complete = old_videos.captions_edited(world, tenant, "a.mp4")
    laid_out = old_videos.laid_out(world, tenant, "b.mp4")
    list(adoption.run(adoption.planner.plans()))
    assert statuses(line, complete, *ASSETS) == dict.fromkeys(ASSETS, "FRESH")
    made = adopted_assets(line.catalog.get_video(laid_out.video_id))
    assert made == {"source_video", "full_frames", "raw_ocr_db", "layout_db"}
    assert statuses(line, laid_out, *ASSETS) == {
        name: "FRESH" if name in made else "MISSING" for name in ASSETS
    }
    # Its extents are those of another model, which the event names.
    (event,) = line.instance.fetch_materializations(
        dg.AssetRecordsFilter(
            dg.AssetKey("caption_frame_extents_db"),
            asset_partitions=[line.catalog.get_video(complete.video_id).partition_key],
        ),
        limit=1,
    ).records
    assert event.asset_materialization.metadata["model_version"].value == "mrn0fkfd_a4b1a61c"


# Between two adoptions.


def test_a_video_is_adopted_alone_and_a_tenant_at_a_time(made: list[Made], adoption: Adoption, line: Line):
    one = next(each for each in made if each.kind == "captions_edited")
    (result,) = adoption.run(adoption.planner.plans(video_id=one.video_id))
    assert result.plan.video.video_id == one.video_id
    tenant = one.folder.tenant_id
    results = list(adoption.run(adoption.planner.plans(tenant_id=tenant)))
    assert {each.plan.video.tenant_id for each in results} == {tenant}
    assert {row.tenant_id for row in line.catalog.list_videos(1000)} == {tenant}


# Runs after it.


@pytest.mark.slow
def test_a_run_makes_a_stage_again_without_touching_peoples_work(
    adoption: Adoption, world: OldWorld, line: Line, clip: Clip
):
    """The upload is a real clip; its chunks lack the tails, and its captions were edited."""
    tenant = world.tenant("Acme")
    made = old_videos.tails_lost(world, tenant, "harbour.mp4")
    world.put(VideoKeys(tenant, made.video_id).video, clip.path.read_bytes())
    world.update(made.video_id, duration_seconds=8.0, width=640, height=360)
    rows = [
        old_captions.caption(8, 26, text="Every evening, the harbour falls silent."),
        old_captions.caption(
            27, 44, caption_frame_extents_state="confirmed", caption_frame_extents_pending=0
        ),
        old_captions.caption(46, 50, caption_frame_extents_state="gap", caption_frame_extents_pending=0),
    ]
    made.captions = [
        old_captions.CaptionEdit(8, 26, "Every evening, the harbour falls silent.", "predicted"),
        old_captions.CaptionEdit(27, 44, None),
        old_captions.CaptionEdit(46, 50, None, "gap"),
    ]
    made.folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=rows))
    list(adoption.run(adoption.planner.plans()))
    for attempt in range(2):
        # As the sensor does, and then as `captionacc retry` would: by the real job of the real graph.
        if attempt:
            line.catalog.restart_stage(made.video_id, "boundaries")
        result = line.run("captions", made.video_id)
        assert result.success, failure(result)
        assert state_of(line, made.video_id) == ["done", "annotate", "annotate"]
        assert list(lost_edits(made, line)) == []
    keys = VideoKeys(tenant, made.video_id)
    captions = read_captions(line.store.get(keys.captions_db))
    found = [c for c in captions if not c.belongs_to_person]
    assert any("last boat" in (c.ocr_text or "") for c in found), captions
    result = line.run("layout", made.video_id)
    assert result.success, failure(result)
    assert list(lost_edits(made, line)) == []
    assert statuses(line, made, "full_frames", "raw_ocr_db", "layout_db") == dict.fromkeys(
        ("full_frames", "raw_ocr_db", "layout_db"), "FRESH"
    )


def test_this_platforms_bucket_must_not_be_the_predecessors(world: OldWorld, planner: Planner):
    with pytest.raises(PredecessorError, match="CAPTIONACC_STORAGE_URL"):
        check_stores(planner.old.store, ObjectStore.from_url(world.storage_url + "/"))
    check_stores(planner.old.store, ObjectStore.from_url(world.storage_url + "/next"))


def test_an_old_lock_is_judged_by_its_age(world: OldWorld, planner: Planner):
    made = old_videos.being_edited(world, world.tenant("Acme"), "a.mp4")
    (plan,) = planner.plans()
    assert plan.verdict == "refused"
    assert "edits it there" in plan.reasons[0]
    planner.now = datetime.now(UTC).replace(year=datetime.now(UTC).year + 1)
    (plan,) = planner.plans()
    assert (plan.verdict, plan.video.video_id) == ("converted", made.video_id)


def test_it_works_through_postgrest_and_inside_one_bucket(
    world: OldWorld, line: Line, planner: Planner, s3_server
):
    """As with a Supabase project and Wasabi: the platform has a prefix in the predecessor's bucket."""
    made = old_videos.captions_edited(world, world.tenant("Acme"), "a.mp4")
    settings = s3_server.make_settings()
    bucket = ObjectStore(settings)
    bucket.put_many(
        (str(path.relative_to(world.bucket)), path.read_bytes(), "application/octet-stream")
        for path in world.bucket.rglob("*")
        if path.is_file()
    )
    before = {info.key: info.etag for info in bucket.list()}
    line.store = ObjectStore(replace(settings, url=f"{settings.url}/next"))
    world.grant("service_role")
    with PostgrestServer(world.dsn, schemas=(world.schema,)).running() as server:
        tables = SupabaseTables(server.url, make_key("service_role"), schema=world.schema)
        old_one = Predecessor(tables, ReadOnlyStore(settings))
        check_stores(old_one.store, line.store)
        adopter = Adopter(old_one, line.catalog, line.store, "fold")
        adoption = Adoption(Planner(old_one, planner.costs, planner.fan_out), adopter, line.instance)
        (result,) = adoption.run(adoption.planner.plans())
        old_one.close()
    assert result.state == "adopted"
    assert list(lost_edits(made, line)) == []
    assert statuses(line, made, *ASSETS) == dict.fromkeys(ASSETS, "FRESH")
    after = {info.key: info.etag for info in bucket.list() if not info.key.startswith("next/")}
    assert after == before
