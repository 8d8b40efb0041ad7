"""What ``captionacc doctor`` found, line by line."""

from collections.abc import Iterable
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
