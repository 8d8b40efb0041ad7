"""The arithmetic of priorities and turns."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.runs.priority import (
    SMALL_FILE_BYTES,
    AgeBoost,
    Claim,
    Waiting,
    in_turn,
    round_robin,
    turns,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DEFAULT = AgeBoost()
FREE, PREMIUM, ENTERPRISE = 50, 70, 90
BIG = 60_000_000


def claim(base: int = FREE, hours: float = 0.0, **overrides) -> Claim:
    usual = {"base": base, "size_bytes": BIG, "waiting_since": NOW - timedelta(hours=hours)}
    return Claim(**{**usual, **overrides})


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (claim(FREE), 50),
        (claim(PREMIUM), 70),
        (claim(ENTERPRISE), 90),
        (claim(FREE, hours=0.99), 50),
        (claim(FREE, hours=1), 51),
        (claim(FREE, hours=19.99), 69),
        (claim(FREE, hours=20), 70),
        (claim(FREE, hours=1000), 70),
        # A clock that is ahead of ours costs nothing.
        (claim(FREE, hours=-5), 50),
        (claim(FREE, hours=10, age_boosting=False), 50),
        (claim(FREE, size_bytes=SMALL_FILE_BYTES - 1), 55),
        (claim(FREE, size_bytes=SMALL_FILE_BYTES), 50),
        (claim(FREE, size_bytes=None), 50),
        (claim(ENTERPRISE, hours=20, size_bytes=1), 100),
        (claim(FREE, override=10), 10),
        (claim(FREE, override=10, hours=3), 13),
        (claim(FREE, override=0, size_bytes=1), 5),
        (claim(FREE, override=500), 100),
        (claim(FREE, override=-500), 0),
    ],
)
def test_priority_is_tier_or_override_and_age_and_size_within_bounds(what: Claim, expected: int):
    assert what.priority(NOW, DEFAULT) == expected


def test_the_boost_for_waiting_is_configurable():
    assert claim(FREE, hours=2).priority(NOW, AgeBoost(points_an_hour=6, most_points=10)) == 60
    assert claim(FREE, hours=2).priority(NOW, AgeBoost(points_an_hour=0, most_points=10)) == 50


@pytest.mark.parametrize(
    ("boost", "hours", "points"),
    [
        # Two points an hour, at most 20.
        (AgeBoost(points_an_hour=2), 0.49, 0),
        (AgeBoost(points_an_hour=2), 9.99, 19),
        (AgeBoost(points_an_hour=2), 11, 20),
        # One point each 60, 30 or 7 minutes.
        (AgeBoost(minutes_a_point=60), 20, 20),
        (AgeBoost(minutes_a_point=30), 1.5, 3),
        (AgeBoost(minutes_a_point=7), 49 / 60, 7),
        (AgeBoost(minutes_a_point=7, most_points=5), 24, 5),
    ],
)
def test_both_ways_to_set_the_points_for_waiting(boost: AgeBoost, hours: float, points: int):
    assert claim(FREE, hours=hours).priority(NOW, boost) == FREE + points


claims = st.builds(
    Claim,
    base=st.integers(-50, 150),
    size_bytes=st.none() | st.integers(0, 10**9),
    waiting_since=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    age_boosting=st.booleans(),
    override=st.none() | st.integers(-200, 200),
)
boosts = st.builds(AgeBoost, st.floats(0, 100), st.integers(0, 100))


@given(claims, boosts, st.timedeltas(timedelta(0), timedelta(days=1000)))
def test_waiting_longer_never_lowers_a_priority_and_it_stays_in_bounds(what, boost, longer):
    before, after = what.priority(NOW, boost), what.priority(NOW + longer, boost)
    assert 0 <= before <= after <= 100
    assert after - before <= boost.most_points


@given(st.integers(0, 100), st.integers(0, 100))
def test_a_further_run_is_below_every_first_one_of_any_tier_and_keeps_its_order(one, other):
    assert 0 <= in_turn(one, first=False) < 50
    assert (one <= other) <= (in_turn(one, first=False) <= in_turn(other, first=False))


queues = st.lists(
    st.builds(Waiting, st.uuids().map(str), st.sampled_from("abcd"), st.integers(50, 100)), max_size=40
)


@given(queues, st.sets(st.sampled_from("abcd")))
def test_the_highest_run_of_each_idle_tenant_goes_first(queue, at_work):
    result = turns(queue, at_work)
    assert set(result) == {waiting.run for waiting in queue}
    whole = {waiting.run: waiting for waiting in queue if result[waiting.run] == waiting.priority}
    firsts = Counter(waiting.tenant for waiting in whole.values())
    assert firsts == Counter({waiting.tenant for waiting in queue} - at_work)
    for first in whole.values():
        own = [waiting for waiting in queue if waiting.tenant == first.tenant]
        assert first is max(own, key=lambda waiting: waiting.priority)


@given(queues)
def test_idle_tenants_come_before_those_with_running_work(queue):
    result = turns(queue, {"a", "b"})
    others = [result[waiting.run] for waiting in queue if waiting.tenant in "ab"]
    firsts = [max(result[w.run] for w in queue if w.tenant == t) for t in {w.tenant for w in queue} - {*"ab"}]
    assert not others or not firsts or max(others) < min(firsts)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers()), max_size=60))
def test_round_robin_keeps_everything_and_each_tenants_order(items):
    mixed = round_robin(items, lambda item: item[0])
    assert Counter(mixed) == Counter(items)
    left = Counter(name for name, _ in items)
    for name in "abcd":
        assert [i for i in mixed if i[0] == name] == [i for i in items if i[0] == name]
    seen: Counter = Counter()
    for name, _ in mixed:
        seen[name] += 1
        # Every other tenant has had its turn, or has no more.
        assert all(seen[other] >= min(seen[name] - 1, left[other]) for other in left)
