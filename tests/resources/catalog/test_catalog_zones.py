"""Contract: zones are approved with the crop region, and a changed zone is a new version."""

import pytest
from psycopg.types.json import Jsonb

from captionacc_dagster.resources.catalog import LayoutApproval, WrongStateError
from captionacc_dagster.resources.catalog.transport import JsonArray
from modal_gpu.contracts import CaptionZone, CropRegion, to_wire
from modal_gpu.errors import InvalidCropRegionError
from tests.resources.catalog.conftest import STRIP
from tests.resources.catalog.world import MEMBER

TOP = CaptionZone(1, CropRegion(0.1, 0.05, 0.9, 0.2))
MIDDLE = CaptionZone(3, CropRegion(0.1, 0.4, 0.9, 0.5), "pt-BR")
WIDE = CropRegion(0.0, 0.0, 1.0, 0.3)


def test_a_video_of_one_zone_has_none_further(catalog, videos):
    video = videos.read()
    (version,) = catalog.list_cropped_frames_versions(video.video_id)
    assert video.caption_zones == video.proposed_caption_zones == version.caption_zones == ()


def test_the_first_approval_takes_the_zones_that_were_found(catalog, videos):
    found = videos.laid_out(caption_zones=(TOP, MIDDLE))
    assert (found.proposed_caption_zones, found.caption_zones) == ((TOP, MIDDLE), ())
    approved = catalog.approve_layout(found.video_id, "ann")
    assert approved.caption_zones == (TOP, MIDDLE)
    (approval,) = catalog.pending_layout_approvals()
    assert approval.caption_zones == (TOP, MIDDLE)
    assert LayoutApproval.of(approved).caption_zones == (TOP, MIDDLE)


def test_a_policy_approves_the_zones_too(catalog, videos):
    catalog.set_auto_approve(videos.tenant.tenant_id, 0.5)
    assert videos.laid_out(caption_zones=(TOP,)).caption_zones == (TOP,)


def test_a_region_drawn_over_a_found_zone_takes_its_place(catalog, videos):
    found = videos.laid_out(caption_zones=(TOP, MIDDLE))
    assert catalog.approve_layout(found.video_id, "ann", WIDE).caption_zones == (MIDDLE,)


def test_a_client_that_knows_no_zones_keeps_them(catalog, videos):
    video_id = videos.laid_out(caption_zones=(TOP,)).video_id
    catalog.approve_layout(video_id, "ann")
    moved = catalog.approve_layout(video_id, "ann", CropRegion(0.0, 0.7, 1.0, 1.0))
    assert (moved.caption_zones, moved.crop_region_version) == ((TOP,), 2)


def test_every_change_of_a_zone_is_a_new_version_and_the_same_zones_are_not(catalog, videos):
    video_id = videos.read().video_id
    changes = [(MIDDLE, TOP), (TOP,), (CaptionZone(1, TOP.crop_region, "de"),), ()]
    for number, zones in enumerate(changes, 2):
        video = catalog.approve_layout(video_id, "ann", STRIP, zones)
        in_order = tuple(sorted(zones, key=lambda zone: zone.zone_index))
        assert (video.caption_zones, video.crop_region_version) == (in_order, number)
        assert (video.boundaries.status, video.text.status) == ("wait", "wait")
        assert catalog.approve_layout(video_id, "bob", STRIP, zones[::-1]) == video


def test_a_version_is_allotted_for_the_approved_zones_only(catalog, videos):
    video_id = videos.laid_out(caption_zones=(TOP,)).video_id
    catalog.approve_layout(video_id, "ann")
    catalog.begin_stage(video_id, "boundaries", "run")
    for zones in ((), (MIDDLE,), (TOP, MIDDLE)):
        with pytest.raises(WrongStateError, match="are not the approved ones"):
            catalog.allot_cropped_frames_version(video_id, "run", STRIP, zones)
    assert catalog.allot_cropped_frames_version(video_id, "run", STRIP, (TOP,)) == 1
    (version,) = catalog.list_cropped_frames_versions(video_id)
    assert version.caption_zones == (TOP,)


ZONE = to_wire(TOP)
UNUSABLE = {
    "no list": {"zone_index": 1},
    "zone 0": [ZONE | {"zone_index": 0}],
    "too many": [ZONE | {"zone_index": 8}],
    "half a zone": [ZONE | {"zone_index": 1.5}],
    "a zone twice": [ZONE, ZONE],
    "no region": [{"zone_index": 1}],
    "a thin region": [ZONE | {"crop_region": {**ZONE["crop_region"], "crop_bottom": 0.05}}],
    "no language": [ZONE | {"language": "?"}],
    "another field": [ZONE | {"colour": "red"}],
    "a word": ["top"],
}


@pytest.mark.parametrize("zones", UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_zones_are_refused(videos, catalog, zones):
    video_id = videos.laid_out().video_id
    value = JsonArray(zones) if isinstance(zones, list) else zones
    with pytest.raises(InvalidCropRegionError, match="are not usable"):
        catalog.transport.call(
            "approve_layout", {"video_id": video_id, "approved_by": "ann", "caption_zones": value}
        )


def test_the_tables_refuse_them_as_well(videos, database):
    video_id = videos.laid_out().video_id
    for zones in UNUSABLE.values():
        with pytest.raises(Exception, match="videos_caption_zones_check"):
            database.execute(
                "update captionacc.videos set caption_zones = %s where id = %s", [Jsonb(zones), video_id]
            )


def test_a_person_approves_zones_through_the_web_app(world, act, catalog):
    video_id = world.videos["M"].video_id
    answer = act(MEMBER, "approve_layout", video_id=video_id, caption_zones=[to_wire(TOP)])
    assert answer.json()["ok"], answer.text
    video = catalog.get_video(video_id)
    assert (video.caption_zones, video.crop_region, video.crop_region_version) == ((TOP,), STRIP, 2)
    # As clients call it that know no zones.
    assert act(MEMBER, "approve_layout", video_id=video_id, crop_region=None).json()["ok"]
    assert catalog.get_video(video_id).caption_zones == (TOP,)
    assert act(MEMBER, "approve_layout", video_id=video_id, caption_zones=[]).json()["ok"]
    assert catalog.get_video(video_id).caption_zones == ()
    refused = act(MEMBER, "approve_layout", video_id=video_id, caption_zones=[{"zone_index": 9}]).json()
    assert (refused["ok"], refused["code"]) == (False, "CA003")
