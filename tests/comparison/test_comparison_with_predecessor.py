"""A predecessor's videos in all states, compared with what was adopted of them."""

from collections import Counter
from dataclasses import replace

import pytest

from captionacc_dagster.adoption.adopting import Adoption
from captionacc_dagster.adoption.predecessor import Predecessor
from captionacc_dagster.comparison.captions import TOLERANCE_MS
from captionacc_dagster.comparison.comparing import VideoComparison, summed
from captionacc_dagster.comparison.figures import judge
from captionacc_dagster.comparison.predecessor import (
    NoPredecessorVideoError,
    compare_tenant,
    compare_video,
)
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.databases.layout import read_layout, write_layout
from modal_gpu.keys import VideoKeys
from tests.adoption import old_videos
from tests.adoption.old_videos import KINDS, Made
from tests.adoption.old_world import OldWorld
from tests.line_fixtures import Line


@pytest.fixture
def made(world: OldWorld) -> list[Made]:
    """One video of each kind, of one tenant."""
    return old_videos.make_all(world, [world.tenant("Acme", "active")], len(KINDS))


@pytest.fixture
def some(world: OldWorld) -> list[Made]:
    """Three videos: edited, labelled, and one with a damaged database."""
    tenant = world.tenant("Acme", "active")
    return [
        KINDS[kind](world, tenant, f"{kind}.mp4")
        for kind in ("captions_edited", "labelled", "captions_damaged")
    ]


def compared(predecessor: Predecessor, line: Line, made: list[Made]) -> dict[str, VideoComparison]:
    """Return the comparisons by the kind of the video."""
    kinds = {one.video_id: one.kind for one in made}
    tenant_id = made[0].folder.tenant_id
    found = compare_tenant(predecessor, line.catalog, line.store, tenant_id, TOLERANCE_MS)
    return {kinds[one.video_id]: one for one in found}


def exceeded(*comparisons: VideoComparison) -> set[str]:
    return {check.rule.name for check in judge(summed(comparisons)) if not check.is_met}


def test_what_was_adopted_is_the_same(
    made: list[Made], adoption: Adoption, predecessor: Predecessor, line: Line, world: OldWorld
):
    before = world.snapshot()
    states = Counter(result.state for result in adoption.run(adoption.planner.plans()))
    assert states["adopted"] > 10
    found = compared(predecessor, line, made)
    assert world.snapshot() == before
    assert set(found) == {one.kind for one in made} - {"deleted"}
    total = summed(list(found.values()))
    people = [one for one in made if one.verdict != "refused"]
    assert total.persons_captions >= sum(len(one.captions) for one in people) > 0
    assert total.labels > 0 and total.regions == sum(one.approval is not None for one in people)
    assert (total.lost_edits, total.lost_labels, total.other_regions, total.missing_frames) == (0, 0, 0, 0)
    for one in made:
        if one.verdict in ("converted", "as_is") and found[one.kind].new.captions is not None:
            assert found[one.kind].differences == (), one.kind
    assert "without texts" in "".join(found["captions_missing"].notes)
    assert found["captions_missing"].figures.pairs > 0


def test_what_is_not_here_or_cannot_be_read_is_named(
    some: list[Made], adoption: Adoption, predecessor: Predecessor, line: Line
):
    assert all(
        one.notes == ("it is not here: adopt it first",) for one in compared(predecessor, line, some).values()
    )
    list(adoption.run(adoption.planner.plans()))
    found = compared(predecessor, line, some)
    assert found["captions_damaged"].notes == ("it is not here: adopt it first",), "its adoption is refused"
    damaged = next(one for one in some if one.kind == "captions_edited")
    damaged.folder.client("captions.db.gz", b"no database")
    again = compared(predecessor, line, some)["captions_edited"]
    assert again.figures.uncompared == 1 and again.notes[0].startswith("old: database captions.db")


def test_work_that_is_changed_or_lost_here_is_noticed(
    some: list[Made], adoption: Adoption, predecessor: Predecessor, line: Line
):
    list(adoption.run(adoption.planner.plans()))
    kinds = {one.kind: one for one in some}
    edited, labelled = kinds["captions_edited"], kinds["labelled"]
    assert exceeded(compared(predecessor, line, some)["captions_edited"]) == set()

    key = line_keys(edited).captions_db
    captions = read_captions(line.store.get(key))
    changed = [replace(c, text="Not what they wrote") if c.text else c for c in captions]
    line.store.put(key, write_captions(changed))
    key = line_keys(labelled).layout_db
    layout = read_layout(line.store.get(key))
    boxes = tuple(replace(box, label=None) for box in layout.boxes)
    line.store.put(key, write_layout(replace(layout, boxes=boxes)))

    found = compared(predecessor, line, some)
    assert {"edits", "texts"} <= exceeded(found["captions_edited"])
    assert exceeded(found["labelled"]) == {"labels"}


def line_keys(one: Made) -> VideoKeys:
    return VideoKeys(one.folder.tenant_id, one.video_id)


def test_a_tenant_whose_videos_cannot_be_seen_is_an_error(
    world: OldWorld, predecessor: Predecessor, line: Line
):
    tenant = world.tenant("Acme", "active")
    KINDS["deleted"](world, tenant, "deleted.mp4")
    with pytest.raises(NoPredecessorVideoError, match=r"nothing was compared.*row-level security"):
        list(compare_tenant(predecessor, line.catalog, line.store, tenant, TOLERANCE_MS))


def test_a_video_that_only_this_platform_has_is_an_error(
    world: OldWorld, predecessor: Predecessor, line: Line, tmp_path
):
    file = tmp_path / "new.mp4"
    file.write_bytes(b"new")
    video = line.upload(file)
    with pytest.raises(NoPredecessorVideoError, match="--with FILE"):
        compare_video(predecessor, line.catalog, line.store, video, TOLERANCE_MS)
