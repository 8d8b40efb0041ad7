"""What ``captionacc doctor`` found, line by line."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli.app import console


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. ``advice`` says what to do when ``ok`` is false."""

    what: str
    ok: bool
    detail: str
    advice: str = ""


def look_safely(
    what: str, look: Callable[[], tuple[bool, str, str]], explain: Callable[[BaseException], tuple[str, str]]
) -> Finding:
    """The finding of one look, whatever goes wrong in it. ``explain`` gives detail and advice of an error.

    Also for what is no ``Exception``: a library in Rust that panics would end the command.
    """
    try:
        return Finding(what, *look())
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        detail, advice = explain(error)
        return Finding(what, False, detail, advice)


def in_one_line(error: BaseException) -> str:
    """Class and words of an error that nobody expected, without secrets."""
    from captionacc_dagster.logs import blanked

    words = " ".join(blanked(str(error)).split())[:500]
    return f"{type(error).__name__}: {words or 'no reason given'}"


def report(findings: Iterable[Finding]) -> None:
    """Print findings, and end the command with code 1 when one of them is bad."""
    table = Table(box=None, pad_edge=False, show_header=False)
    is_well = True
    for finding in findings:
        mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        table.add_row(mark, finding.what, escape(finding.detail))
        if not finding.ok and finding.advice:
            table.add_row("", "", f"[yellow]{escape(finding.advice)}[/]")
        is_well = is_well and finding.ok
    console.print(table, highlight=False)
    if not is_well:
        raise typer.Exit(1)
