"""The findings of ``captionacc doctor``, and their report."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli import json_operation_models as models
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.json_output import print_json
from captionacc_dagster.cli.root import console


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. ``advice`` says what to do if ``ok`` is false."""

    what: str
    ok: bool
    detail: str
    advice: str = ""


def check_safely(
    what: str, check: Callable[[], tuple[bool, str, str]], explain: Callable[[BaseException], tuple[str, str]]
) -> Finding:
    """Run one check, and turn any error into a finding. ``explain`` returns detail and advice for an error.

    Catches ``BaseException``, because a panic in a Rust library is not an ``Exception``.
    """
    try:
        return Finding(what, *check())
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        detail, advice = explain(error)
        return Finding(what, False, detail, advice)


def in_one_line(error: BaseException) -> str:
    """Return the class and message of an unexpected error on one line, without secrets."""
    from captionacc_dagster.logs import blanked

    words = " ".join(blanked(str(error)).split())[:500]
    return f"{type(error).__name__}: {words or 'no reason given'}"


def report(findings: Iterable[Finding], *, as_json: bool = False) -> None:
    """Print findings, and exit with code 1 if one of them is not ok."""
    found = list(findings)
    if as_json:
        rows = [models.Finding(**asdict(one) | {"advice": "" if one.ok else one.advice}) for one in found]
        print_json(models.Findings(ok=all(one.ok for one in found), findings=rows))
    else:
        _print(found)
    if not all(one.ok for one in found):
        raise typer.Exit(ExitCode.FAILED)


def _print(findings: Iterable[Finding]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        table.add_row(mark, finding.what, escape(finding.detail))
        if not finding.ok and finding.advice:
            table.add_row("", "", f"[yellow]{escape(finding.advice)}[/]")
    console.print(table, highlight=False)
