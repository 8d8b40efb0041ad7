"""Rows of Dagster's event log without what is in them twice.

Dagster stores an asset's metadata in two rows, that of the step's output and that of the materialization, and
the UI's list of a run's events shows them twice. Each row of a step also has the tags of its log lines, which
repeat its other fields and are read nowhere. Together they are a quarter of a video's rows
(``python -m benchmarks.event_log``).

``log_step_event``, which stores a step's events, is wrapped; the events that this process goes on with stay
complete. After a release that renames it the import fails at once;
``tests/dagster_internals/test_lean_events.py`` sees whether it is still called.
"""

from functools import wraps
from typing import Any

import dagster as dg
from dagster._core import events
from dagster._core.execution.plan.outputs import StepOutputData

_original = events.log_step_event


@wraps(_original)
def _log_step_event(step_context: Any, event: dg.DagsterEvent, *rest: Any) -> None:
    data = event.event_specific_data
    # The metadata of an op that makes no asset are in this row only.
    if isinstance(data, StepOutputData) and _makes_assets(step_context):
        event = event._replace(event_specific_data=data._replace(metadata={}))
    _original(step_context, event._replace(logging_tags={}), *rest)


def _makes_assets(step_context: Any) -> bool:
    assets = step_context.job_def.asset_layer.get_assets_def_for_node(step_context.node_handle)
    return assets is not None


def lean_events() -> None:
    """Let this process store lean rows. Safe to repeat."""
    setattr(events, _original.__name__, _log_step_event)
