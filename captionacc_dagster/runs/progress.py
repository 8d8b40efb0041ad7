"""How far a run is, said in its log and read from there by the command line."""

import re
from collections.abc import Callable
from dataclasses import dataclass

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
        return self.done / self.total if self.total else 1.0


def parse(message: str) -> Step | None:
    """The step that a log line tells of; None for any other line."""
    found = _PATTERN.search(message)
    return Step(found["stage"], int(found["done"]), int(found["total"])) if found else None


def log_steps(write: Callable[[str], None], parts: int = 10) -> Callable[[str, int, int], None]:
    """A progress listener that writes a line at the start, the end, and each tenth of a stage."""
    last: dict[str, int] = {}

    def report(stage: str, done: int, total: int) -> None:
        part = parts * done // total if total else parts
        if part > last.get(stage, -1):
            last[stage] = part
            write(str(Step(stage, done, total)))

    return report
