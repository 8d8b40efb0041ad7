"""The waits of an asset before it is retried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.definitions import defs
from captionacc_dagster.resources.catalog import CatalogAccessError, LockHeldError, LockLostError
from captionacc_dagster.runs.retries import DEFAULT, RETRIES, Retries, retries_of
from modal_gpu.errors import BadVideoError, RemoteTimeoutError, StorageAccessError, StorageError


@pytest.mark.parametrize(
    ("tries", "chance", "expected"), [(1, 0.5, 10), (2, 0.5, 20), (3, 0.5, 40), (1, 0.0, 8), (9, 0.5, 60)]
)
def test_waits_double_within_bounds_with_jitter(tries, chance, expected):
    policy = Retries(most=9, first_seconds=10, longest_seconds=60, jitter=0.2)
    assert policy.delay(tries, chance) == pytest.approx(expected)


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_a_wait_is_never_negative_nor_longer_than_the_bound_with_jitter(tries, chance, jitter):
    policy = Retries(jitter=jitter)
    assert 0 <= policy.delay(tries, chance) <= policy.longest_seconds * (1 + jitter)


def test_waits_that_began_together_do_not_end_together():
    assert len({round(DEFAULT.delay(1), 6) for _ in range(20)}) > 10


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (StorageError("503"), 3),
        (LockHeldError("ann has it"), 3),
        (LockLostError("the lease ran out"), 3),
        (RemoteTimeoutError("30 minutes"), 1),
        (StorageAccessError("403"), 1),
        (CatalogAccessError("wrong password"), 1),
        (BadVideoError("no video"), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_only_transient_errors_are_retried(error, tries):
    again = [DEFAULT.tries_again(error, number) for number in range(1, 5)]
    assert again == [number < tries for number in range(1, 5)]


def test_each_policy_belongs_to_an_existing_op():
    ops = {asset.op.name for asset in defs.resolve_asset_graph().assets_defs if asset.is_executable}
    assert set(RETRIES) <= ops
    assert retries_of("subtitles") == DEFAULT
