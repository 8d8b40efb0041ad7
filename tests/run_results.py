"""What a run of the graph reported."""

import dagster as dg


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    """Return the sorted names of what a run materialized."""
    return sorted(event.asset_key.to_user_string() for event in result.get_asset_materialization_events())


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Return whether each check of a run passed."""
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Return what the run reports about the failed step."""
    events = [event for event in result.all_events if event.is_step_failure]
    assert len(events) == 1, [event.message for event in events]
    data = events[0].step_failure_data
    return data.user_failure_data.description if data.user_failure_data else data.error.to_string()


def rejections(result: dg.ExecuteInProcessResult) -> set[str]:
    """Return why work of a run was rejected, from what its assets observed."""
    events = [event for event in result.all_events if event.is_asset_observation]
    observed = [event.asset_observation_data.asset_observation for event in events]
    return {str(one.metadata["rejected"].value) for one in observed if "rejected" in one.metadata}
