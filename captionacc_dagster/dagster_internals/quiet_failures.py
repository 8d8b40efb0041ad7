"""The display of a run that cannot succeed: one sentence in red in Dagster's UI, and nothing else.

For a failed step Dagster shows the stack of its own engine, for each step after it an error of its own
("Dependencies for step … failed"), and for each check of those an execution failure. For an upload that is no
video, all of that is noise around one sentence. What fails is still a failed step and a failed run.

Private parts of Dagster that this uses, which has no setting for either:

* ``DagsterUserCodeProcessError``, whose errors are shown without a stack of this process, and their list;
* ``ActiveExecution.plan_events_iterator``, which is wrapped, and the methods that abandon steps.

After a release that changes them, the imports fail at once, or failed runs look as Dagster shows them;
``tests/assets/test_graph_quiet.py`` fails then.
"""

from collections.abc import Iterator
from functools import wraps

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.execution.context.system import PlanExecutionContext, PlanOrchestrationContext
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.step import ExecutionStep
from dagster_shared.error import SerializableErrorInfo

#: Set on the function that replaces Dagster's.
_MARK = "is_quiet"


class FinalFailure(DagsterUserCodeProcessError, dg.Failure):
    """A failure that is one sentence and is not retried.

    Dagster shows an error from another process by the description that it brings along; this one brings a
    description without a stack.
    """

    def __init__(self, sentence: str, kind: str) -> None:
        """``kind``: the name of the error's class."""
        info = SerializableErrorInfo(sentence, [], kind)
        super().__init__(sentence, user_code_process_error_infos=[info])  # type: ignore[no-untyped-call]
        self.allow_retries = False


class QuietRetry(DagsterUserCodeProcessError, dg.RetryRequested):
    """A request to try a step again, which is shown as one sentence too."""

    def __init__(self, sentence: str, kind: str, *, max_retries: int, seconds_to_wait: float) -> None:
        """``kind``: the name of the error's class."""
        dg.RetryRequested.__init__(self, max_retries, seconds_to_wait)
        self.args = (sentence,)
        self.user_code_process_error_infos = [SerializableErrorInfo(sentence, [], kind)]


class QuietInterruption(DagsterUserCodeProcessError, dg.DagsterExecutionInterruptedError):
    """The end of a step in a run that a person cancelled, which is shown as one sentence too."""

    def __init__(self, sentence: str) -> None:
        """Take the sentence that is shown."""
        dg.DagsterExecutionInterruptedError.__init__(self, sentence)
        self.user_code_process_error_infos = [SerializableErrorInfo(sentence, [], "Cancelled")]


def quiet_failures() -> None:
    """Let steps after a failed one report that they were not run, instead of failing too. Safe to repeat."""
    original = ActiveExecution.plan_events_iterator
    if getattr(original, _MARK, False):
        return

    @wraps(original)
    def plan_events_iterator(
        self: ActiveExecution, job_context: PlanExecutionContext | PlanOrchestrationContext
    ) -> Iterator[dg.DagsterEvent]:
        # Other executors than the in-process one pass a context that cannot evaluate checks.
        while isinstance(job_context, PlanExecutionContext) and (steps := self.get_steps_to_abandon()):
            for step in steps:
                _report_not_run(job_context, step)
                self.mark_abandoned(step.key)
        yield from original(self, job_context)

    setattr(plan_events_iterator, _MARK, True)
    setattr(ActiveExecution, original.__name__, plan_events_iterator)


def _report_not_run(job_context: PlanExecutionContext, step: ExecutionStep) -> None:
    """Log that a step was not run. A check gets a warning: Dagster takes one without a result for broken."""
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
