"""What a second adoption does after changes there, changes here, other processes and interruptions."""

import dagster as dg
import pytest

from captionacc_dagster.adoption import apply
from captionacc_dagster.adoption.adopting import Adoption
from captionacc_dagster.assets.restoration import ASSETS
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.keys import VideoKeys
from tests.adoption import old_captions, old_layouts, old_videos
from tests.adoption import old_databases as old
from tests.adoption.checks import lost_edits, statuses
from tests.adoption.old_world import OldWorld
from tests.line_fixtures import Line


def test_what_has_changed_there_is_taken_over_again(adoption: Adoption, world: OldWorld, line: Line):
    made = old_videos.captions_edited(world, world.tenant("Acme"), "a.mp4")
    list(adoption.run(adoption.planner.plans()))
    rows, edits = old_captions.edited(**old_captions.READ)
    rows[2]["text"] = "Hello, new world"
    made.folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=rows))
    (result,) = adoption.run(adoption.planner.plans())
    assert result.state == "adopted"
    made.captions = [
        *edits[:2],
        old_captions.CaptionEdit(50, 88, "Hello, new world", "predicted", "valid_caption"),
    ]
    assert list(lost_edits(made, line)) == []
    assert statuses(line, made, *ASSETS) == dict.fromkeys(ASSETS, "FRESH")


def test_an_object_that_was_replaced_there_by_one_of_the_same_size_is_copied_again(
    adoption: Adoption, world: OldWorld, line: Line
):
    made = old_videos.laid_out(world, world.tenant("Acme"), "a.mp4")
    list(adoption.run(adoption.planner.plans()))
    frame = old_layouts.JPEG[::-1]
    made.folder.client("full_frames/frame_000100.jpg", frame)
    (result,) = adoption.run(adoption.planner.plans())
    keys = VideoKeys(made.folder.tenant_id, made.video_id)
    assert (result.state, line.store.get(keys.full_frame(100))) == ("adopted", frame)


@pytest.mark.parametrize("here", ["edit", "rename", "deletion"])
def test_what_has_changed_here_is_never_overwritten(
    adoption: Adoption, world: OldWorld, line: Line, here: str
):
    made = old_videos.captions_edited(world, world.tenant("Acme"), "a.mp4")
    list(adoption.run(adoption.planner.plans()))
    keys = VideoKeys(made.folder.tenant_id, made.video_id)
    if here == "edit":
        with line.catalog.lease(made.video_id, "captions", "ann") as lease:
            line.store.put(keys.captions_db, line.store.get(keys.captions_db) + b"", "application/gzip")
            line.catalog.bump_database_version(lease.token)
    elif here == "rename":
        line.catalog.rename_video(made.video_id, "b.mp4")
    else:
        line.catalog.soft_delete_video(made.video_id)
    line.store.put(keys.full_frame(100), b"a frame that a run made here", "image/jpeg")
    stored = list(line.store.list())
    made.folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=[]))
    (result,) = adoption.run(adoption.planner.plans())
    assert result.state == "kept"
    assert result.detail
    assert list(line.store.list()) == stored


def test_a_video_that_somebody_edits_here_is_left_alone(adoption: Adoption, world: OldWorld, line: Line):
    made = old_videos.captions_edited(world, world.tenant("Acme"), "a.mp4")
    list(adoption.run(adoption.planner.plans()))
    made.folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=[]))
    with line.catalog.lease(made.video_id, "captions", "ann"):
        (result,) = adoption.run(adoption.planner.plans())
    assert result.state == "kept"
    assert "ann" in result.detail or "lock" in result.detail


def test_a_video_that_another_process_adopts_meanwhile_is_left_alone(
    adoption: Adoption, world: OldWorld, line: Line, monkeypatch: pytest.MonkeyPatch
):
    """Between the look at the row and the databases, somebody else adopts it and a person edits it."""
    made = old_videos.captions_edited(world, world.tenant("Acme"), "a.mp4")
    other = Adoption(adoption.planner, adoption.adopter, line.instance)
    keys = VideoKeys(made.folder.tenant_id, made.video_id)
    copy_all = apply.copy_all

    def copy_and_be_overtaken(*arguments) -> None:
        monkeypatch.setattr(apply, "copy_all", copy_all)
        list(other.run(other.planner.plans()))
        with line.catalog.lease(made.video_id, "captions", "ann") as lease:
            line.store.put(keys.captions_db, write_captions([]))
            line.catalog.bump_database_version(lease.token)
        copy_all(*arguments)

    monkeypatch.setattr(apply, "copy_all", copy_and_be_overtaken)
    (result,) = adoption.run(adoption.planner.plans())
    assert (result.state, read_captions(line.store.get(keys.captions_db))) == ("kept", [])


def test_a_video_that_was_uploaded_here_is_none_of_the_predecessors(
    adoption: Adoption, world: OldWorld, line: Line
):
    tenant = world.tenant("Acme")
    made = old_videos.waiting(world, tenant, "a.mp4")
    line.catalog.ensure_tenant(tenant, "Acme")
    line.catalog.register_video(tenant, made.video_id, VideoKeys(tenant, made.video_id).video, 5, "mine.mp4")
    (result,) = adoption.run(adoption.planner.plans())
    assert (result.state, line.catalog.get_video(made.video_id).display_path) == ("kept", "mine.mp4")


def test_events_that_an_interruption_left_out_follow(
    adoption: Adoption, world: OldWorld, line: Line, monkeypatch: pytest.MonkeyPatch
):
    made = old_videos.captions_edited(world, world.tenant("Acme"), "a.mp4")
    reported = line.instance.report_runless_asset_event
    calls = []

    def stop_after_four(event):
        calls.append(event)
        if len(calls) > 4:
            raise KeyboardInterrupt
        reported(event)

    monkeypatch.setattr(line.instance, "report_runless_asset_event", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        list(adoption.run(adoption.planner.plans()))
    monkeypatch.setattr(line.instance, "report_runless_asset_event", reported)
    (result,) = adoption.run(adoption.planner.plans())
    assert result.state == "unchanged"
    assert statuses(line, made, *ASSETS) == dict.fromkeys(ASSETS, "FRESH")
    for name in ASSETS:
        assert len(line.instance.fetch_materializations(dg.AssetKey(name), limit=10).records) == 1
