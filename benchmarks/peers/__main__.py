"""``python -m benchmarks.peers``: other tools for burned-in captions, and this one, on the same clips.

Each tool is installed from PyPI into an environment of its own below the cache folder, when it is first
measured. It runs with its default and with its other settings. The table has the row of the default, and the
best other row if that is better. Tesseract and FFmpeg come from the system's packages; a tool whose commands
or packages are missing is listed below the tables with the reason.

The clips en90 and zh80, and the footage of situations, are in the folder that ``CAPTIONACC_TEST_DATA`` names.
The clip ``sample`` needs nothing. Without the footage, the others are listed below the tables.

The cache keeps what was measured: a second call prints the table at once, and ``--again`` measures again.
After a change of this project, ``--again --tool captionacc`` renews its own rows.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.peers import clips as all_clips
from benchmarks.peers.environments import NotInstalledError
from benchmarks.peers.measuring import Row, measured, stored
from benchmarks.peers.report import best_rows, markdown, standing, table, title
from benchmarks.peers.tools import NOT_MEASURED, OURS, TOOLS, Tool

CACHE = Path("~/.cache/captionacc-peers")


def _chosen(wanted: list[str] | None, *, defaults: bool) -> list[Tool]:
    found = [
        tool for tool in TOOLS if not wanted or any(name.lower() in tool.name.lower() for name in wanted)
    ]
    if not found:
        raise typer.BadParameter(f"no such tool: {', '.join(wanted or ())}", param_hint="--tool")
    if defaults:
        return [replace(tool, settings={"default": tool.settings["default"]}) for tool in found]
    return found


def _list(console: Console) -> None:
    for tool in TOOLS:
        console.print(f"{tool.name}: {', '.join(tool.settings)}" + (f" ({tool.note})" if tool.note else ""))
    for name, reason in NOT_MEASURED.items():
        console.print(f"{name}: not measured: {reason}")


def _print(console: Console, rows: list[Row], shown: list[Row], *, as_markdown: bool) -> None:
    """Print a clip's table with the rows to show, and the sentence about all of its rows."""
    if as_markdown:
        print(f"### {title(rows)}\n\n{markdown(shown)}\n")
    else:
        console.print(table(shown))
    if any(row.tool == OURS for row in rows):
        console.print(standing(rows), "\n", soft_wrap=True)


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Clips, or names of benchmarks.situations. Default: {', '.join(all_clips.names())}. "
            "All but sample need the footage that CAPTIONACC_TEST_DATA names."
        ),
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option(help="Only tools whose name contains this; may be repeated.")
    ] = None,
    defaults: Annotated[bool, typer.Option("--defaults", help="Measure only each tool's default.")] = False,
    cache: Annotated[Path, typer.Option(help="Environments, drawn clips, results.")] = CACHE,
    kept: Annotated[bool, typer.Option("--kept", help="Measure nothing; show the kept results.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure again what the cache has.")] = False,
    every: Annotated[bool, typer.Option("--every", help="Show all settings, worse ones too.")] = False,
    limit: Annotated[float, typer.Option(help="Stop a tool after so many CPU seconds.")] = 1800.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each row.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown tables, as in docs/explanation/comparison.md.")
    ] = False,
    list_tools: Annotated[
        bool, typer.Option("--list", help="List tools, settings, and what is not measured.")
    ] = False,
) -> None:
    """Compare other tools for burned-in captions with this one, on the same clips.

    Each tool is installed from PyPI when it is first measured.
    Results are kept: a second call prints the tables at once.
    """
    console = Console(width=150, highlight=False)
    if list_tools:
        _list(console)
        return
    cache = cache.expanduser().resolve()
    wanted = names or all_clips.names()
    if unknown := [name for name in wanted if not all_clips.known(name)]:
        raise typer.BadParameter(f"no such clip: {', '.join(unknown)}")
    missing = dict(NOT_MEASURED)
    for name in wanted:
        try:
            clip = all_clips.clip(name, cache / "clips")
        except all_clips.NoFootageError as error:
            if names:
                raise typer.BadParameter(str(error)) from None
            missing[name] = str(error)
            continue
        rows = _rows(
            clip, _chosen(tool, defaults=defaults), cache, missing, limit=limit, again=again, kept=kept
        )
        if as_json:
            for row in rows:
                print(json.dumps(row.to_json(), ensure_ascii=False), flush=True)
        elif rows:
            shown = rows if every else best_rows(rows)
            _print(console, rows, shown, as_markdown=as_markdown)
    notes = Console(stderr=True, width=150, highlight=False) if as_json else console
    for one, reason in missing.items():
        notes.print(f"{one}: not measured: {reason}")


def _rows(
    clip: all_clips.Clip,
    tools: list[Tool],
    cache: Path,
    missing: dict[str, str],
    *,
    limit: float,
    again: bool,
    kept: bool,
) -> list[Row]:
    """Return the rows of a clip; tools that cannot be had are added to ``missing``."""
    rows = []
    for tool in tools:
        if kept:
            rows += filter(None, (stored(tool, setting, clip, cache) for setting in tool.settings))
            continue
        try:
            rows += [measured(tool, setting, clip, cache, limit, again=again) for setting in tool.settings]
        except NotInstalledError as error:
            missing[tool.name] = str(error)
    return rows


if __name__ == "__main__":
    typer.run(main)
