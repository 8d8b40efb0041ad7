"""Stored events without repetitions; materializations, and what the process sees, are complete."""

from collections.abc import Iterator

import dagster as dg
import pytest

from captionacc_dagster.dagster_internals.lean_events import lean_events


@dg.asset
def measured() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"count": 3})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    lean_events()
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_metadata_is_stored_once_and_tags_of_log_lines_never(instance: dg.DagsterInstance):
    result = dg.materialize([measured], instance=instance)
    stored = [record.event_log_entry for record in instance.get_records_for_run(result.run_id).records]
    of_steps = [entry.dagster_event for entry in stored if entry.dagster_event and entry.step_key]
    assert "STEP_OUTPUT" in {event.event_type_value for event in of_steps}
    assert [event.event_type_value for event in of_steps if event.logging_tags] == []
    with_count = [entry for entry in stored if '"count"' in entry.to_json()]
    assert [entry.dagster_event.event_type_value for entry in with_count] == ["ASSET_MATERIALIZATION"]
    # What the process itself sees is complete.
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["count"].value == 3
    (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    assert output.event_specific_data.metadata["count"].value == 3


@dg.op
def acts(context: dg.OpExecutionContext) -> None:
    context.add_output_metadata({"chosen": 3})


@dg.job
def acting():
    acts()


def test_an_op_that_makes_no_asset_keeps_its_metadata(instance: dg.DagsterInstance):
    result = acting.execute_in_process(instance=instance)
    records = instance.get_records_for_run(result.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT).records
    (output,) = [record.event_log_entry.dagster_event for record in records]
    assert output.event_specific_data.metadata["chosen"].value == 3


def test_adapting_twice_is_the_same(instance: dg.DagsterInstance):
    lean_events()
    assert dg.materialize([measured], instance=instance).success
