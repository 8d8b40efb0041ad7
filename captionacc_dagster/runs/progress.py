"""Progress lines in a run's log, which the command line reads."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from modal_gpu.contracts import Progress

_PATTERN = re.compile(r"progress: (?P<stage>[\w -]+) (?P<done>\d+)/(?P<total>\d+)$")


@dataclass(frozen=True)
class Step:
    """``done`` of ``total`` units of a stage, for example frames read."""

    stage: str
    done: int
    total: int

    def __str__(self) -> str:
        return f"progress: {self.stage} {self.done}/{self.total}"

    @property
    def fraction(self) -> float:
        """The part that is done, from 0 to 1; 1 for a stage without units."""
        return self.done / self.total if self.total else 1.0


def parse(message: str) -> Step | None:
    """Return the step in a log line; None for any other line."""
    found = _PATTERN.search(message)
    return Step(found["stage"], int(found["done"]), int(found["total"])) if found else None


def log_steps(write: Callable[[str], None], parts: int = 10) -> Progress:
    """Return a listener that writes a line at the start of a stage and after each of its ``parts``."""
    last: dict[str, int] = {}

    def report(stage: str, done: int, total: int) -> None:
        part = parts * done // total if total else parts
        if part > last.get(stage, -1):
            last[stage] = part
            write(str(Step(stage, done, total)))

    return report
