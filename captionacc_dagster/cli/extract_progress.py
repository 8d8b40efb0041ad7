"""The progress of ``extract``: a bar with an ETA on a terminal, else a line a stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from captionacc_dagster.cli.root import note, notes, printable

if TYPE_CHECKING:
    from modal_gpu.contracts import Progress as Steps

#: The stages of :func:`~modal_gpu.extraction.extraction.extract_captions`: what they are called, their
#: share of the time, and the unit that they count in.
STAGES = {
    "frames": ("finding the place of captions", 0.40, "frames"),
    "strips": ("finding and reading captions", 0.55, "moments"),
    "captions": ("joining pieces of captions", 0.05, "captions"),
}


@contextmanager
def shown_progress(name: str, number: int, count: int) -> "Iterator[Steps]":
    """Show the progress of the ``number``-th (from 1) of ``count`` videos while the block runs."""
    label = f"[{number}/{count}] {printable(name)}" if count > 1 else printable(name)
    if not notes.is_terminal:
        yield _lines(label)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True) as bar:
        task = bar.add_task(escape(label), total=1.0)

        def step(stage: str, done: int, total: int) -> None:
            title, share, _ = STAGES[stage]
            before = sum(STAGES[other][1] for other in list(STAGES)[: list(STAGES).index(stage)])
            completed = before + share * done / max(1, total)
            bar.update(task, completed=completed, description=f"{escape(label)}: {title}")

        yield step


def _lines(label: str) -> "Steps":
    seen: set[str] = set()

    def step(stage: str, done: int, total: int) -> None:
        if stage not in seen:
            seen.add(stage)
            title, _, unit = STAGES[stage]
            note(f"{label}: {title} ({total} {unit})")

    return step
