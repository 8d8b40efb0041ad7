"""Contract: a lock has one holder under any contention; a killed holder's is free when its lease ends."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from captionacc_dagster.resources.catalog import LockHeldError, LockLostError
from tests.full_catalog import FullCatalog

TAKERS, ROUNDS = 32, 500
REPOSITORY = Path(__file__).resolve().parents[3]

HOLDER = """
import sys, time
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
catalog = Catalog(PostgresTransport(sys.argv[1]))
with catalog.lease(sys.argv[2], "captions", "holder", seconds=2) as lease:
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_thirty_two_takers_in_five_hundred_rounds_make_one_holder_each(
    postgres_catalog, postgres_videos, postgres_dsn
):
    """Straight over psycopg, a connection a taker: the function's word, without a client in between."""
    video_id = postgres_videos.uploaded().video_id
    take = "select token from captionacc.take_lock(%s, 'captions', %s, 60)"
    barrier = threading.Barrier(TAKERS)
    guard = threading.Lock()
    holders: list[int] = []
    winners: list[list[int]] = [[] for _ in range(ROUNDS)]
    overlaps: list[int] = []
    broken: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with psycopg.connect(postgres_dsn, autocommit=True, prepare_threshold=1) as connection:
                for round_number in range(ROUNDS):
                    token = None
                    barrier.wait(60)
                    try:
                        (token,) = connection.execute(take, [video_id, f"taker {number}"]).fetchone()
                    except psycopg.Error as error:
                        assert error.sqlstate == "CA004", error
                    if token is not None:
                        with guard:
                            holders.append(number)
                            winners[round_number].append(number)
                            if len(holders) > 1:
                                overlaps.append(round_number)
                    # No holder releases it before all have asked.
                    barrier.wait(60)
                    if token is not None:
                        with guard:
                            holders.remove(number)
                        released = connection.execute("select captionacc.release_lock(%s)", [token])
                        assert released.fetchone() == (True,)
        except BaseException as error:
            broken.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=[number]) for number in range(TAKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert broken == []
    assert overlaps == []
    assert [len(each) for each in winners] == [1] * ROUNDS
    assert postgres_catalog.list_locks(include_expired=True) == []


@pytest.mark.parametrize("takers", [8])
def test_takers_at_random_times_never_hold_it_together(catalog, videos, takers):
    """On both transports, without rounds: a holder works for a moment and releases it."""
    video_id = videos.uploaded().video_id
    inside: list[int] = []
    together: list[list[int]] = []
    taken = [0] * takers
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                token = catalog.take_lock(video_id, "layout", f"taker {number}", 60)
            except LockHeldError:
                continue
            inside.append(number)
            if len(inside) > 1:
                together.append(list(inside))
            taken[number] += 1
            inside.remove(number)
            assert catalog.release_lock(token)
            if sum(taken) >= 60:
                stop.set()

    threads = [threading.Thread(target=work, args=[number]) for number in range(takers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == []
    assert sum(taken) >= 60


def test_a_killed_holders_lease_is_taken_over_after_its_end_and_not_before(
    catalog, videos, postgres_dsn, database
):
    video_id = videos.uploaded().video_id
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, postgres_dsn, video_id],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(LockHeldError, match="locked by holder"):
            catalog.take_lock(video_id, "captions", "next", 60)
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    finally:
        holder.kill()
        holder.stdout.close()
    (held,) = catalog.list_locks(include_expired=True)
    refused = 0
    deadline = time.monotonic() + 20
    while True:
        assert time.monotonic() < deadline
        try:
            token = catalog.take_lock(video_id, "captions", "next", 60)
            break
        except LockHeldError:
            refused += 1
    (locked_at,) = database.execute(
        "select locked_at from captionacc.video_database_state where lock_token = %s", [token.token]
    ).fetchone()
    assert refused > 0
    assert locked_at >= held.expires_at
    assert (locked_at - held.expires_at).total_seconds() < 2


def test_a_holder_that_comes_back_after_a_take_over_writes_nothing(catalog, videos, database):
    video_id = videos.uploaded().video_id
    slept = catalog.take_lock(video_id, "captions", "slept", 1)
    database.execute("update captionacc.video_database_state set lock_expires_at = now() - interval '1 s'")
    new = catalog.take_lock(video_id, "captions", "new", 60)
    for late in (
        lambda: catalog.renew_lock(slept, 60),
        lambda: catalog.bump_database_version(slept),
    ):
        with pytest.raises(LockLostError):
            late()
    assert catalog.release_lock(slept) is False
    assert catalog.bump_database_version(new) == 1


def test_the_catalogue_keeps_leases_for_both_kinds_of_holders(catalog, videos):
    video_id = videos.uploaded().video_id
    catalog.take_lock(video_id, "captions", "ann's browser", 60, lock_type="client")
    with pytest.raises(LockHeldError, match="ann's browser"):
        catalog.take_lock(video_id, "captions", "run", 60)
    (lock,) = catalog.list_locks()
    assert (lock.owner, lock.lock_type) == ("ann's browser", "client")


@pytest.fixture
def postgres_videos(postgres_catalog: FullCatalog, make_outcome):
    from tests.resources.catalog.conftest import Videos

    tenant = postgres_catalog.ensure_tenant("22222222-2222-4222-8222-222222222222", "tenant")
    return Videos(postgres_catalog, tenant, make_outcome)
