"""The index space and its chunks: every frame is in exactly one place, and every reader finds it there."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.errors import FrameRateError
from modal_gpu.frame_index import (
    CHUNK_MEMBERS,
    FULL_FRAME_MAX_STEP,
    LEVELS,
    SEGMENT_ALIGNMENT,
    ChunkRef,
    chunks,
    coarse_frame_indices,
    first_index_from,
    frame_count,
    full_frame_indices,
    index_time,
    indices_at_rate,
    level_of,
    locate,
    member_count,
    member_index,
    member_ordinal,
)
from modal_gpu.frame_rates import crop_step, exact_rate

DAY = 24 * 3600 * 10
indices = st.integers(0, DAY)
counts = st.integers(1, 3000)
levels = st.sampled_from(LEVELS)


@given(counts)
def test_every_index_is_in_exactly_one_chunk(count: int) -> None:
    stored = [index for chunk in chunks(count) for index in chunk.members(count)]
    assert sorted(stored) == list(range(count))


@given(counts)
def test_chunks_are_full_but_the_last_of_a_level(count: int) -> None:
    for level in LEVELS:
        sizes = [len(chunk.members(count)) for chunk in chunks(count) if chunk.level == level]
        assert all(size == CHUNK_MEMBERS for size in sizes[:-1])
        assert all(1 <= size <= CHUNK_MEMBERS for size in sizes)
        assert sum(sizes) == member_count(level, count)


@given(counts)
def test_a_chunk_is_named_after_its_first_member_and_holds_its_level_in_order(count: int) -> None:
    for chunk in chunks(count):
        members = chunk.members(count)
        assert members[0] == chunk.first_index
        assert members == sorted(set(members))
        assert {level_of(index) for index in members} == {chunk.level}


@given(indices)
def test_locating_an_index_agrees_with_the_chunks_members(index: int) -> None:
    chunk, position = locate(index)
    assert chunk.members(index + 1)[position] == index
    assert 0 <= position < CHUNK_MEMBERS


@given(indices)
def test_located_chunks_are_the_ones_that_are_listed(index: int) -> None:
    count = index % 3000 + 1
    assert locate(count - 1)[0] in set(chunks(count))


@given(levels, st.integers(0, DAY))
def test_member_index_and_member_ordinal_are_inverse(level: int, ordinal: int) -> None:
    index = member_index(level, ordinal)
    assert level_of(index) == level
    assert member_ordinal(index) == ordinal


@given(indices)
def test_member_ordinal_and_member_index_are_inverse(index: int) -> None:
    assert member_index(level_of(index), member_ordinal(index)) == index


@given(levels, st.integers(0, 2000))
def test_member_count_counts(level: int, count: int) -> None:
    assert member_count(level, count) == sum(level_of(index) == level for index in range(count))


@given(st.integers(0, DAY // SEGMENT_ALIGNMENT), st.integers(1, 600))
def test_segments_at_the_alignment_share_no_chunk_with_earlier_ones(segment: int, length: int) -> None:
    start = segment * SEGMENT_ALIGNMENT
    for index in range(start, start + length):
        assert locate(index)[0].first_index >= start


def test_no_smaller_alignment_would_do() -> None:
    def aligned(start: int) -> bool:
        return all(locate(index)[0].first_index >= start for index in range(start, start + SEGMENT_ALIGNMENT))

    assert [start for start in range(1, 2 * SEGMENT_ALIGNMENT + 1) if aligned(start)] == [512, 1024]


def test_the_first_chunk_names_are_those_that_clients_know() -> None:
    first = {level: [c.first_index for c in chunks(1100) if c.level == level][:6] for level in LEVELS}
    assert first == {
        16: [0, 512, 1024],
        4: [4, 172, 344, 516, 684, 856],
        1: [1, 43, 86, 129, 171, 214],
    }


@pytest.mark.parametrize("chunk", [(4, 0), (16, 16), (1, 2), (16, -16), (2, 2), (1, 44)])
def test_a_chunk_that_does_not_exist_cannot_be_named(chunk: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"no chunk of level|negative"):
        ChunkRef(*chunk)


@given(st.fractions(min_value=0, max_value=100_000, max_denominator=90_000))
def test_the_indices_of_a_video_are_those_whose_moment_is_before_its_end(duration: Fraction) -> None:
    count = frame_count(duration)
    assert count >= 1
    assert count == 1 or index_time(count - 1) < duration
    assert index_time(count) >= duration


@given(st.fractions(0, 10**6, max_denominator=90_000))
def test_the_first_index_from_a_time_is_at_it_or_the_next_after_it(seconds: Fraction) -> None:
    index = first_index_from(seconds)
    assert index_time(index - 1) < seconds <= index_time(index)


def test_a_frame_that_starts_on_an_index_moment_belongs_to_it() -> None:
    assert [frame_count(Fraction(n, 10)) for n in range(5)] == [1, 1, 2, 3, 4]
    assert frame_count(Fraction(1001, 10000)) == 2
    assert index_time(7) == Fraction(7, 10)


@given(st.integers(1, DAY))
def test_full_frames_start_at_zero_and_lie_one_to_ten_seconds_apart(count: int) -> None:
    taken = full_frame_indices(count)
    assert taken[0] == 0
    assert taken[-1] < count
    assert 10 <= taken.step <= 100
    # About 30 to learn from where the video has them.
    assert len(taken) >= 30 or len(taken) == -(-count // 10)
    assert len(taken) <= 60 or taken.step == 100


@pytest.mark.parametrize(
    ("seconds", "step", "frames"),
    [(0.1, 10, 1), (8, 10, 8), (30, 10, 30), (90, 30, 30), (300, 100, 30), (3 * 3600, 100, 1080)],
)
def test_full_frame_examples(seconds: float, step: int, frames: int) -> None:
    taken = full_frame_indices(round(seconds * 10))
    assert (taken.step, len(taken)) == (step, frames)


@given(st.integers(1, 60_000))
def test_the_full_frames_that_are_always_read_are_those_at_a_tenth_of_a_hertz_or_more(count: int) -> None:
    taken, always = full_frame_indices(count), coarse_frame_indices(count)
    assert set(always) <= set(taken) and always[0] == 0
    assert all(later - earlier <= FULL_FRAME_MAX_STEP for earlier, later in pairwise(always))
    assert always == taken or (len(taken) + 1) // 2 == len(always)


@pytest.mark.parametrize(
    "call",
    [
        lambda: level_of(-1),
        lambda: locate(-1),
        lambda: member_ordinal(-16),
        lambda: member_index(16, -1),
        lambda: member_index(2, 0),
        lambda: member_count(2, 10),
        lambda: member_count(1, -1),
        lambda: full_frame_indices(0),
        lambda: frame_count(-0.1),
        lambda: frame_count(float("nan")),
    ],
)
def test_values_outside_the_index_space_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call()


steps = st.sampled_from([1, 2, 5, 10])


@given(st.integers(1, 4000), steps)
def test_at_each_rate_every_stored_index_is_in_exactly_one_chunk(count: int, step: int):
    members = [index for ref in chunks(count, step) for index in ref.members(count)]
    assert sorted(members) == list(range(0, count, step))
    for ref in chunks(count, step):
        assert ref.members(count)[0] == ref.first_index and len(ref.members(count)) <= 32
        for position, index in enumerate(ref.members(count)):
            assert locate(index, step) == (ref, position)


@given(st.integers(1, 100_000), st.floats(0.001, 1))
def test_full_frames_at_a_rate_are_the_tenths_nearest_to_its_times(count: int, rate: float):
    indices = list(indices_at_rate(count, exact_rate(rate)))
    assert indices[0] == 0 and all(later - earlier >= 10 for earlier, later in pairwise(indices))
    assert all(abs(index - 10 * place / rate) <= 0.5 + 1e-6 for place, index in enumerate(indices))
    assert 10 * len(indices) / rate >= count - 0.5 - 1e-6


def test_rates_are_taken_as_they_are_written():
    assert list(indices_at_rate(101, exact_rate(0.3))) == [0, 33, 67, 100]
    assert indices_at_rate(1000, exact_rate(0.1)) == range(0, 1000, 100)
    assert [crop_step(rate) for rate in (10, 10.0, 5, 2, 1)] == [1, 1, 2, 5, 10]
    for wrong in (0, -1, 1.01, float("nan"), float("inf")):
        with pytest.raises(FrameRateError, match="up to 1 Hz works"):
            exact_rate(wrong)
        with pytest.raises(FrameRateError, match="10, 5, 2 and 1 Hz work"):
            crop_step(wrong)
