"""How a run that cannot succeed looks in Dagster's UI: one sentence, and nothing else in red.

Dagster shows a failed step with the stack of its own engine, for each step after it an error of its own
("Dependencies for step … failed"), and each check of those as one whose execution failed. For an upload that
is no video all of that is noise around one sentence. What fails is still a failed step and a failed run.
"""

from collections.abc import Iterator
from functools import wraps
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.execution.context.system import PlanExecutionContext
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.step import IExecutionStep
from dagster._utils.error import SerializableErrorInfo


class FinalFailure(DagsterUserCodeProcessError, dg.Failure):
    """A failure that is one sentence and is not tried again.

    An error that comes from another process brings its own description along, which Dagster shows as it is;
    this one says that its description has no stack.
    """

    def __init__(self, sentence: str, kind: str) -> None:
        """``kind``: the name of the error's class."""
        super().__init__(sentence, user_code_process_error_infos=[SerializableErrorInfo(sentence, [], kind)])
        self.allow_retries = False


def quiet_failures() -> None:
    """Let steps after a failed one say that they were not run, instead of failing as well; once a process."""
    original = ActiveExecution.plan_events_iterator
    if getattr(original, "is_quiet", False):
        return

    @wraps(original)
    def plan_events_iterator(self: ActiveExecution, job_context: PlanExecutionContext) -> Iterator[Any]:
        while steps := self.get_steps_to_abandon():
            for step in steps:
                _tell_not_run(job_context, step)
                self.mark_abandoned(step.key)
        yield from original(self, job_context)

    plan_events_iterator.is_quiet = True
    ActiveExecution.plan_events_iterator = plan_events_iterator


def _tell_not_run(job_context: PlanExecutionContext, step: IExecutionStep) -> None:
    """Say so in the log. A check is given a warning, since Dagster takes one without a result for broken."""
    context = job_context.for_step(step)
    context.log.info(f"{step.key} was not run, since a step before it failed.")
    for output in step.step_outputs:
        if key := output.properties.asset_check_key:
            result = dg.AssetCheckResult(
                passed=False,
                asset_key=key.asset_key,
                check_name=key.name,
                severity=dg.AssetCheckSeverity.WARN,
                description="not checked: the step that makes the asset failed",
            )
            # Beside the run: in its log it would be one more line in red.
            job_context.instance.report_runless_asset_event(result.to_asset_check_evaluation(context))
