"""caption_frame_extents_v{N}.db keeps every probability, and a damaged one is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modal_gpu.databases.extents import (
    SCHEMA_VERSION,
    ExtentsRun,
    SegmentScores,
    read_change_seconds,
    read_extents,
    read_segment,
    write_extents,
    write_segment,
)
from modal_gpu.databases.sqlite_file import pack, read_database
from modal_gpu.errors import DatabaseFileError
from modal_gpu.extents.decoder import decode
from modal_gpu.extents.predictor import predictions


def make_run(pairs, **changes):
    values = {
        "run_id": "run-1",
        "cropped_frames_version": 3,
        "model_version": "strokes-1",
        "model_sha256": "ab" * 32,
        "started_at": "2026-01-01T00:00:00+00:00",
        "completed_at": "2026-01-01T00:00:09+00:00",
        "total_pairs": pairs,
        "processing_time_seconds": 9.5,
    }
    return ExtentsRun(**values | changes)


def make_predictions(presence, same):
    return predictions(np.float32(presence), np.float32(same))


UNIT = st.floats(0, 1, width=32)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 20).flatmap(
        lambda n: st.tuples(
            arrays.arrays(np.float32, n, elements=UNIT), arrays.arrays(np.float32, n - 1, elements=UNIT)
        )
    )
)
def test_what_is_written_is_read_back_and_decodes_the_same(values):
    written = predictions(*values)
    run, read = read_extents(write_extents(make_run(len(written.forward)), written))
    assert run == make_run(len(written.forward))
    assert np.array_equal(read.forward, written.forward)
    assert np.array_equal(read.backward, written.backward)
    if written.frame_count > 1:
        assert np.allclose(read.presence, written.presence, atol=1e-5)
        assert decode(read) == decode(written)


def test_labels_and_confidences_are_those_of_the_probabilities():
    data = write_extents(make_run(2), make_predictions([0.1, 0.9, 0.9], [0.5, 0.8]))
    with read_database(data, SCHEMA_VERSION) as connection:
        rows = connection.execute("SELECT * FROM pair_results ORDER BY frame1_index").fetchall()
    assert [row["forward_predicted_label"] for row in rows] == ["empty_valid", "same"]
    assert [row["backward_predicted_label"] for row in rows] == ["valid_empty", "same"]
    assert rows[0]["forward_confidence"] == pytest.approx(0.81)
    assert rows[0]["backward_prob_valid_empty"] == pytest.approx(0.81)


def test_the_same_run_gives_the_same_bytes():
    made = [write_extents(make_run(2), make_predictions([0, 1, 1], [0, 1])) for _ in range(2)]
    assert made[0] == made[1]


def test_a_wrong_number_of_pairs_is_refused_on_writing():
    with pytest.raises(ValueError, match="5 pairs"):
        write_extents(make_run(5), make_predictions([0, 1, 1], [0, 1]))


@pytest.mark.parametrize(
    "damage",
    ["DELETE FROM pair_results WHERE frame1_index = 1", "DELETE FROM pair_results WHERE frame1_index = 2",
     "DELETE FROM run_metadata"],
)  # fmt: skip
def test_missing_rows_are_noticed_on_reading(damage):
    data = write_extents(make_run(3), make_predictions([0, 1, 1, 0], [0, 1, 1]))
    with read_database(data, SCHEMA_VERSION) as connection:
        connection.execute(damage)
        data = pack(connection)
    with pytest.raises(DatabaseFileError):
        read_extents(data)


def test_times_of_changes_are_kept_where_they_are_known():
    times = np.array([0.08, np.nan, 2.0])
    data = write_extents(make_run(3), make_predictions([0, 1, 1, 0], [0, 1, 1]), times)
    assert np.array_equal(read_change_seconds(data), times, equal_nan=True)
    without = write_extents(make_run(3), make_predictions([0, 1, 1, 0], [0, 1, 1]))
    assert np.isnan(read_change_seconds(without)).all()


def test_a_file_of_the_first_version_is_read_as_one_without_times():
    data = write_extents(make_run(3), make_predictions([0, 1, 1, 0], [0, 1, 1]))
    with read_database(data, SCHEMA_VERSION) as connection:
        connection.execute("ALTER TABLE pair_results DROP COLUMN change_seconds")
        connection.execute("UPDATE database_metadata SET schema_version = 1")
        old = pack(connection)
    assert read_extents(old)[0] == read_extents(data)[0]
    assert np.array_equal(read_extents(old)[1].forward, read_extents(data)[1].forward)
    assert read_change_seconds(old).shape == (3,) and np.isnan(read_change_seconds(old)).all()


def scores(count: int, start: int = 512) -> SegmentScores:
    rng = np.random.default_rng(count)
    times = np.where(rng.random(count) < 0.5, np.nan, rng.random(count) * 100)
    presence, same = rng.random((2, count)).astype(np.float32)
    return SegmentScores(start, presence, same, times, "v1", "ab")


@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_segments_scores_are_read_back_to_the_bit(count: int):
    written = scores(count)
    read = read_segment(write_segment(written))
    assert (read.start_index, read.model_version, read.model_sha256) == (512, "v1", "ab")
    for name in ("presence", "same", "change_seconds"):
        one, other = getattr(read, name), getattr(written, name)
        assert one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)


def test_a_segment_with_a_gap_is_refused():
    with read_database(write_segment(scores(9)), 1) as connection:
        connection.execute("DELETE FROM frames WHERE frame_index = 515")
        data = pack(connection)
    with pytest.raises(DatabaseFileError, match="from frame 512 has gaps"):
        read_segment(data)
