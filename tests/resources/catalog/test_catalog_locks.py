"""Contract: a database's lock has one holder; it is a lease, renewed, and lost only to another taker."""

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from captionacc_dagster.resources.catalog import (
    CatalogUnavailableError,
    InvalidArgumentError,
    LockHeldError,
    LockLostError,
)
from captionacc_dagster.resources.catalog.leases import Lease


def expire(database, token) -> None:
    database.execute(
        "update captionacc.video_database_state set lock_expires_at = now() - interval '1 s'"
        " where lock_token = %s",
        [token.token],
    )


def test_sixteen_takers_at_once_make_one_holder(catalog, videos):
    video_id = videos.uploaded().video_id
    for _ in range(10):
        barrier = threading.Barrier(16)

        def take(number: int, barrier=barrier):
            barrier.wait()
            try:
                return catalog.take_lock(video_id, "captions", f"taker {number}", 60)
            except LockHeldError:
                return None

        with ThreadPoolExecutor(16) as threads:
            tokens = [token for token in threads.map(take, range(16)) if token]
        assert len(tokens) == 1
        (held,) = catalog.list_locks()
        assert held.owner == tokens[0].owner
        assert catalog.release_lock(tokens[0])


def test_a_held_lock_names_its_holder_and_the_two_databases_are_separate(catalog, videos):
    video_id = videos.uploaded().video_id
    catalog.take_lock(video_id, "captions", "run 1", 60)
    with pytest.raises(LockHeldError, match="locked by run 1 until"):
        catalog.take_lock(video_id, "captions", "run 1", 60)
    catalog.take_lock(video_id, "layout", "ann's browser", 60, lock_type="client")
    assert {(lock.database_name, lock.lock_type) for lock in catalog.list_locks()} == {
        ("captions", "server"),
        ("layout", "client"),
    }


def test_an_expired_lease_is_free_and_its_old_holder_notices(catalog, videos, database):
    video_id = videos.uploaded().video_id
    old = catalog.take_lock(video_id, "captions", "killed", 60)
    expire(database, old)
    assert catalog.list_locks() == []
    assert [lock.expired for lock in catalog.list_locks(include_expired=True)] == [True]
    with pytest.raises(LockLostError):
        catalog.bump_database_version(old)
    new = catalog.take_lock(video_id, "captions", "next", 60)
    with pytest.raises(LockLostError, match="taken over"):
        catalog.renew_lock(old, 60)
    assert catalog.release_lock(old) is False
    assert [lock.owner for lock in catalog.list_locks()] == ["next"]
    assert catalog.bump_database_version(new) == 1


def test_an_expired_lease_that_nobody_took_can_be_renewed(catalog, videos, database):
    token = catalog.take_lock(videos.uploaded().video_id, "captions", "slept", 60)
    expire(database, token)
    assert catalog.renew_lock(token, 60).expires_at > token.expires_at
    assert catalog.bump_database_version(token) == 1


def test_versions_count_publications(catalog, videos):
    video_id = videos.uploaded().video_id
    assert catalog.database_version(video_id, "captions") == 0
    token = catalog.take_lock(video_id, "captions", "me", 60)
    assert [catalog.bump_database_version(token) for _ in range(3)] == [1, 2, 3]
    assert catalog.database_version(video_id, "captions") == 3
    assert catalog.database_version(video_id, "layout") == 0
    catalog.release_lock(token)
    with pytest.raises(LockLostError):
        catalog.bump_database_version(token)


def test_an_edit_records_the_number_of_captions(catalog, videos):
    new = catalog.take_lock(videos.uploaded().video_id, "captions", "me", 60)
    assert catalog.record_caption_count(new, 3) is False
    assert catalog.get_video(new.video_id).text_caption_count is None
    video_id = videos.read().video_id
    token = catalog.take_lock(video_id, "captions", "me", 60)
    assert catalog.record_caption_count(token, 3) is True
    assert catalog.get_video(video_id).text_caption_count == 3
    layout = catalog.take_lock(video_id, "layout", "me", 60)
    for other in (layout, replace(token, token=str(uuid.uuid4()))):
        with pytest.raises(LockLostError):
            catalog.record_caption_count(other, 4)
    catalog.release_lock(token)
    with pytest.raises(LockLostError):
        catalog.record_caption_count(token, 4)


@pytest.mark.parametrize(
    ("database_name", "owner", "seconds", "kind"),
    [
        ("other", "me", 60, "server"),
        ("captions", "", 60, "server"),
        ("captions", "me", 0.5, "server"),
        ("captions", "me", float("nan"), "server"),
        ("captions", "me", 86_401, "server"),
        ("captions", "me", 60, "nobody"),
    ],
)
def test_invalid_locks_are_refused(catalog, videos, database_name, owner, seconds, kind):
    with pytest.raises(InvalidArgumentError):
        catalog.take_lock(videos.uploaded().video_id, database_name, owner, seconds, lock_type=kind)


def test_a_token_is_not_shown(catalog, videos):
    token = catalog.take_lock(videos.uploaded().video_id, "captions", "me", 60)
    assert token.token not in repr(token)
    assert not any(hasattr(lock, "token") for lock in catalog.list_locks())


class TestLease:
    def test_it_is_renewed_while_the_block_runs_and_released_after(self, catalog, videos, monkeypatch):
        renewed, renew = threading.Event(), catalog.renew_lock
        ends = []

        def watched(token, seconds):
            ends.append(renew(token, seconds).expires_at)
            renewed.set()

        monkeypatch.setattr(catalog, "renew_lock", watched)
        with catalog.lease(videos.uploaded().video_id, "captions", "me", 1) as lease:
            assert renewed.wait(5)
            lease.check()
            assert ends[0] > lease.token.expires_at
        assert catalog.list_locks(include_expired=True) == []

    def test_it_is_released_when_the_block_raises(self, catalog, videos):
        with (
            pytest.raises(ZeroDivisionError),
            catalog.lease(videos.uploaded().video_id, "captions", "me", 60),
        ):
            raise ZeroDivisionError
        assert catalog.list_locks(include_expired=True) == []

    def test_a_lease_taken_over_by_another_is_noticed(self, catalog, videos, database):
        video_id = videos.uploaded().video_id
        with catalog.lease(video_id, "captions", "me", 1) as lease:
            with database.transaction():  # in one, so that no renewal comes between
                expire(database, lease.token)
                database.execute("select captionacc.take_lock(%s, 'captions', 'thief', 60)", [video_id])
            assert lease._lost.wait(5)
            with pytest.raises(LockLostError, match="nothing more is written"):
                lease.check()
        assert [lock.owner for lock in catalog.list_locks()] == ["thief"]

    def test_without_a_database_the_lease_counts_as_lost_after_its_time(self, catalog, videos, monkeypatch):
        token = catalog.take_lock(videos.uploaded().video_id, "captions", "me", 60)
        asked = threading.Event()

        def unavailable(*_):
            asked.set()
            raise CatalogUnavailableError("down")

        monkeypatch.setattr(catalog, "renew_lock", unavailable)
        lease = Lease(catalog, token, seconds=0.15, taken=time.monotonic())
        try:
            lease.check()
            assert asked.wait(5)
            assert lease._thread.is_alive()
            lease._certain_until = 0.0
            with pytest.raises(LockLostError):
                lease.check()
        finally:
            lease.close()

    def test_it_waits_for_the_holder_up_to_a_bound(self, catalog, videos):
        video_id = videos.uploaded().video_id
        held = catalog.take_lock(video_id, "captions", "first", 60)
        with (
            pytest.raises(LockHeldError, match="first"),
            catalog.lease(video_id, "captions", "second", 60, wait_seconds=0.2),
        ):
            pass
        threading.Timer(0.2, catalog.release_lock, [held]).start()
        with catalog.lease(video_id, "captions", "second", 60, wait_seconds=10) as lease:
            assert lease.token.owner == "second"
