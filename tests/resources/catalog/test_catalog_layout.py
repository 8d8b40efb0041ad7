"""Contract: a layout is finished by its run and approved by a person or a policy; regions are checked."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from captionacc_dagster.resources.catalog import InvalidArgumentError, WrongStateError
from modal_gpu.contracts import CropRegion
from modal_gpu.errors import InvalidCropRegionError
from tests.resources.catalog.conftest import OTHER_STRIP, STRIP


class TestLayout:
    def test_a_finished_layout_waits_for_a_person_when_the_policy_is_off(self, videos):
        video = videos.laid_out()
        assert (video.layout.status, video.layout.run_id, video.layout.last_run_id) == (
            "annotate",
            None,
            "layout-run",
        )
        assert (video.proposed_crop_region, video.crop_region, video.crop_region_version) == (STRIP, None, 0)
        assert (video.width, video.height, video.frame_count, video.duration_seconds) == (640, 360, 80, 8.0)

    @pytest.mark.parametrize(
        ("threshold", "found", "confidence", "status"),
        [
            (0.5, True, 0.5, "done"),
            (0.5, True, 0.49, "annotate"),
            (0.5, False, 0.9, "done"),
            (0.5, False, 0.4, "annotate"),
            (None, True, 1.0, "annotate"),
            (0.0, True, 0.0, "done"),
        ],
    )
    def test_the_tenants_policy_approves_from_its_confidence_on(
        self, catalog, tenant, videos, threshold, found, confidence, status
    ):
        catalog.set_auto_approve(tenant.tenant_id, threshold)
        video = videos.laid_out(layout_found=found, layout_confidence=confidence, note="why")
        assert video.layout.status == status
        assert video.layout.note == "why"
        if status == "done":
            assert (video.layout_approved_by, video.crop_region, video.crop_region_version) == (
                "auto",
                STRIP,
                1,
            )

    def test_a_layout_found_without_a_crop_region_is_refused(self, catalog, videos, make_outcome):
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "run")
        with pytest.raises(InvalidArgumentError, match="crop region"):
            catalog.finish_layout(video_id, "run", make_outcome(crop_region=None))
        video = catalog.finish_layout(video_id, "run", make_outcome(crop_region=None, layout_found=False))
        assert video.layout.status == "annotate"
        with pytest.raises(InvalidCropRegionError, match="no caption band"):
            catalog.approve_layout(video_id, "ann")
        assert catalog.approve_layout(video_id, "ann", STRIP).crop_region == STRIP

    def test_only_the_run_that_works_on_a_stage_may_finish_it(self, catalog, videos, make_outcome):
        video_id = videos.uploaded().video_id
        with pytest.raises(WrongStateError, match="no run does"):
            catalog.finish_layout(video_id, "first", make_outcome())
        catalog.begin_stage(video_id, "layout", "first")
        catalog.begin_stage(video_id, "layout", "second")
        for late in (
            lambda: catalog.finish_layout(video_id, "first", make_outcome()),
            lambda: catalog.fail_stage(video_id, "layout", "first", "late"),
        ):
            with pytest.raises(WrongStateError, match="run second does"):
                late()
        assert catalog.finish_layout(video_id, "second", make_outcome()).layout.status == "annotate"

    def test_beginning_twice_is_harmless_and_taking_over_can_be_refused(self, catalog, videos):
        video_id = videos.uploaded().video_id
        begun = catalog.begin_stage(video_id, "layout", "first")
        assert catalog.begin_stage(video_id, "layout", "first") == begun
        with pytest.raises(WrongStateError, match="run first works on"):
            catalog.begin_stage(video_id, "layout", "second", take_over=False)

    def test_approving_twice_does_not_process_twice_but_another_region_does(self, catalog, videos):
        video = videos.approved()
        assert (video.crop_region_version, video.layout_approved_by) == (1, "ann")
        assert catalog.approve_layout(video.video_id, "bob", STRIP) == video
        again = catalog.approve_layout(video.video_id, "bob", OTHER_STRIP)
        assert (again.crop_region, again.crop_region_version, again.layout_approved_by) == (
            OTHER_STRIP,
            2,
            "bob",
        )

    def test_a_new_region_reopens_what_followed_and_displaces_its_runs(self, catalog, videos):
        video_id = videos.read().video_id
        catalog.complete_review(video_id, "boundaries")
        catalog.complete_review(video_id, "text")
        catalog.begin_stage(video_id, "boundaries", "rerun")
        video = catalog.approve_layout(video_id, "ann", OTHER_STRIP)
        assert (video.boundaries.status, video.text.status, video.boundaries.run_id) == ("wait", "wait", None)
        for late in (
            lambda: catalog.finish_boundaries(video_id, "rerun", version=1, caption_count=9),
            lambda: catalog.fail_stage(video_id, "boundaries", "rerun", "late"),
            lambda: catalog.allot_cropped_frames_version(video_id, "rerun", OTHER_STRIP),
        ):
            with pytest.raises(WrongStateError):
                late()
        (approval,) = catalog.pending_layout_approvals()
        assert (approval.crop_region, approval.crop_region_version) == (OTHER_STRIP, 2)

    def test_analysing_again_keeps_an_approval(self, catalog, videos, make_outcome):
        video_id = videos.approved().video_id
        catalog.begin_stage(video_id, "layout", "again")
        video = catalog.finish_layout(video_id, "again", make_outcome(crop_region=OTHER_STRIP))
        assert (video.layout.status, video.crop_region, video.proposed_crop_region) == (
            "done",
            STRIP,
            OTHER_STRIP,
        )
        # This holds after a failure in between, too.
        catalog.begin_stage(video_id, "layout", "third")
        catalog.fail_stage(video_id, "layout", "third", "disk full", "OSError")
        catalog.begin_stage(video_id, "layout", "fourth")
        assert catalog.finish_layout(video_id, "fourth", make_outcome()).layout.status == "done"

    def test_a_run_that_goes_on_works_on_the_boundaries_before_others_can_claim_them(
        self, catalog, tenant, videos, make_outcome
    ):
        catalog.set_auto_approve(tenant.tenant_id, 0.5)
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "run")
        video = catalog.finish_layout(video_id, "run", make_outcome(), goes_on=True)
        assert (video.layout.status, video.layout.run_id) == ("done", None)
        assert (video.boundaries.run_id, video.boundaries.attempts, video.boundaries.tries) == ("run", 1, 1)
        assert catalog.claim_layout_approval(video_id) is None
        assert catalog.pending_layout_approvals() == []
        # Its crops begin the stage again, which counts once.
        assert catalog.begin_stage(video_id, "boundaries", "run") == video

    def test_a_retry_of_a_run_that_went_on_goes_on_too(self, catalog, tenant, videos, make_outcome):
        catalog.set_auto_approve(tenant.tenant_id, 0.5)
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "killed")
        catalog.finish_layout(video_id, "killed", make_outcome(), goes_on=True)
        for former, worker in (("another", "killed"), ("killed", "retry")):
            catalog.begin_stage(video_id, "layout", "retry")
            video = catalog.finish_layout(
                video_id, "retry", make_outcome(), goes_on=True, former_run_id=former
            )
            assert (video.boundaries.run_id, video.boundaries.attempts) == (worker, 1)

    def test_a_run_does_not_go_on_without_an_approval_or_after_a_claim(self, catalog, videos, make_outcome):
        video_id = videos.uploaded().video_id
        catalog.begin_stage(video_id, "layout", "run")
        video = catalog.finish_layout(video_id, "run", make_outcome(), goes_on=True)
        assert (video.layout.status, video.boundaries.run_id) == ("annotate", None)
        catalog.approve_layout(video_id, "ann")
        assert catalog.claim_layout_approval(video_id) is not None
        catalog.begin_stage(video_id, "layout", "again")
        video = catalog.finish_layout(video_id, "again", make_outcome(), goes_on=True)
        assert (video.layout.status, video.boundaries.run_id) == ("done", None)

    def test_a_layout_that_is_not_ready_cannot_be_approved(self, catalog, videos):
        video_id = videos.uploaded().video_id
        with pytest.raises(WrongStateError, match="in state wait"):
            catalog.approve_layout(video_id, "ann", STRIP)
        catalog.fail_stage(video_id, "layout", "run", "broken")
        with pytest.raises(WrongStateError, match="in state error"):
            catalog.approve_layout(video_id, "ann", STRIP)

    @pytest.mark.parametrize(
        "region",
        [
            '{"crop_left": 0.5, "crop_top": 0, "crop_right": 0.5, "crop_bottom": 1}',
            '{"crop_left": -0.1, "crop_top": 0, "crop_right": 0.5, "crop_bottom": 1}',
            '{"crop_left": 0, "crop_top": 0.9, "crop_right": 1, "crop_bottom": 0.8}',
            '{"crop_left": 0, "crop_top": 0, "crop_right": 1.2, "crop_bottom": 1}',
            '{"crop_left": "0", "crop_top": 0, "crop_right": 1, "crop_bottom": 1}',
            '{"crop_left": 0, "crop_top": 0, "crop_right": 1}',
            '{"crop_left": 0, "crop_top": 0, "crop_right": 1, "crop_bottom": null}',
            '{"crop_left": 0, "crop_top": 0, "crop_right": 1, "crop_bottom": 1, "more": 1}',
            "[0, 0, 1, 1]",
        ],
    )
    def test_an_invalid_crop_region_is_refused_by_the_database_too(self, videos, database, region):
        video_id = videos.laid_out().video_id
        with pytest.raises(psycopg.Error) as refused:
            database.execute("select captionacc.approve_layout(%s, 'ann', %s::jsonb)", [video_id, region])
        assert refused.value.sqlstate == "CA003"
        with pytest.raises(psycopg.errors.CheckViolation):
            database.execute(
                "update captionacc.videos set proposed_crop_region = %s::jsonb where id = %s",
                [region, video_id],
            )


@pytest.mark.parametrize(
    "sides",
    [
        (0, 0.5, 1, 0.5 + 1e-12),
        (0.3, 0, 0.3 + 1 / 640, 1),
        (0.1, 0.8, 0.10999, 1),
        (0.28, 0.8, 0.29, 1),
        (0, 0.99, 1, 1),
        (0, 0.57, 1, 0.58),
        (0, 0.5, 1, 0.5),
        (-0.1, 0, 1, 1),
    ],
)
def test_a_region_has_the_same_smallest_size_in_the_catalogue_and_in_requests(postgres_dsn, sides):
    region = dict(zip(("crop_left", "crop_top", "crop_right", "crop_bottom"), sides, strict=True))
    try:
        CropRegion(**region)
        accepted = True
    except InvalidCropRegionError:
        accepted = False
    with psycopg.connect(postgres_dsn) as connection:
        row = connection.execute("SELECT captionacc.is_crop_region(%s)", [Jsonb(region)]).fetchone()
    assert row == (accepted,)
