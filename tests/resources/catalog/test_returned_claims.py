"""Returned claims: the next claim gets them, as the same attempt. On both transports."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from captionacc_dagster.resources.catalog import Catalog, ClaimKind, InvalidArgumentError
from tests.resources.catalog.conftest import Videos

KINDS: tuple[ClaimKind, ...] = ("layout", "boundaries", "text", "request", "backfill")


@dataclass
class Work:
    """One piece of work of a kind: its claim in the form of ``return_claims``, empty if there is none."""

    claim: Callable[..., dict[str, int | str]]
    begin: Callable[[], object]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> ClaimKind:
    return request.param


@pytest.fixture
def work(kind: ClaimKind, catalog: Catalog, videos: Videos) -> Work:
    """Work that nothing has requested yet."""
    if kind == "layout":
        video_id = videos.uploaded().video_id
        return Work(
            lambda **limits: {v.video_id: v.layout.attempts for v in catalog.claim_new_videos(5, **limits)},
            lambda: catalog.begin_stage(video_id, "layout", "run-1"),
        )
    if kind == "boundaries":
        video_id = videos.approved().video_id
        return Work(
            lambda **limits: {a.video_id: a.attempt for a in catalog.pending_layout_approvals(5, **limits)},
            lambda: catalog.begin_stage(video_id, "boundaries", "run-1"),
        )
    video_id = videos.read().video_id
    if kind == "text":
        catalog.begin_stage(video_id, "text", "run-0")
        catalog.fail_stage(video_id, "text", "run-0", "killed")
        catalog.retry_stage(video_id, "text")
        return Work(
            lambda **limits: {v.video_id: v.text.attempts for v in catalog.pending_text(5, **limits)},
            lambda: catalog.begin_stage(video_id, "text", "run-1"),
        )
    if kind == "request":
        request = catalog.request_caption_ocr(video_id, requested_by="ann")
        return Work(
            lambda **limits: {r.id: r.attempts for r in catalog.claim_caption_ocr_requests(5, **limits)},
            lambda: catalog.begin_caption_ocr_request(request.id, "run-1"),
        )
    catalog.request_backfill(str(uuid.uuid4()), "extents-9", {}, "ann", dry_run=False)
    return Work(
        lambda **limits: {b.video_id: b.backfill_id for b in catalog.claim_backfill_videos(5, **limits)},
        lambda: catalog.begin_stage(video_id, "boundaries", "run-1"),
    )


def test_the_next_claim_gets_it_as_the_same_attempt(catalog, kind, work):
    claims = work.claim()
    assert len(claims) == 1
    assert work.claim() == {}
    assert catalog.return_claims(kind, claims) == 1
    assert work.claim() == claims
    assert work.claim() == {}


def test_an_outage_of_many_ticks_does_not_end_it_in_an_error(catalog, kind, work):
    """Only claims that no run began count towards giving up, and a returned claim is not one of them."""
    for _ in range(8):
        claims = work.claim(max_unstarted=3)
        assert len(claims) == 1
        assert catalog.return_claims(kind, claims) == 1


def test_it_can_wait_a_while_but_no_longer_than_the_claim(catalog, kind, work):
    claims = work.claim(restart_after_seconds=900)
    catalog.return_claims(kind, claims, restart_after_seconds=900, again_after_seconds=60)
    assert work.claim(restart_after_seconds=900) == {}
    # Equal to 840 s later, within a second or two.
    assert work.claim(restart_after_seconds=838) == claims
    with pytest.raises(InvalidArgumentError):
        catalog.return_claims(kind, claims, restart_after_seconds=10, again_after_seconds=60)


def test_started_and_unclaimed_work_does_not_change(catalog, kind, work):
    claims = work.claim()
    other = dict.fromkeys(claims, str(uuid.uuid4()) if kind == "backfill" else 99)
    assert catalog.return_claims(kind, other) == 0
    work.begin()
    assert catalog.return_claims(kind, claims) == 0
    assert work.claim() == {}


def test_an_unknown_kind_is_refused(catalog: Catalog):
    with pytest.raises(InvalidArgumentError):
        catalog.return_claims("crops", {})
