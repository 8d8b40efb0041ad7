"""``upkeep``: removal of leftovers."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from captionacc_dagster.cli import json_operation_models as models
from captionacc_dagster.cli.app import Use, parts
from captionacc_dagster.cli.deployment import use_dagster_home
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.root import app, console

if TYPE_CHECKING:
    from captionacc_dagster.operations.upkeep.findings import UpkeepReport


@app.command()
def upkeep(
    apply: Annotated[bool, typer.Option("--apply/--dry-run", help="do it, or only show it")] = False,
    remove_unknown_objects: Annotated[
        bool, typer.Option(help="with --apply, also remove objects that are not in the catalogue")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove leases, versions, calls, folders, partitions and objects that are no longer needed."""
    import dagster as dg

    from captionacc_dagster.assets.upkeep import make_upkeep

    here = parts(Use.WRITE if apply else Use.READ)
    use_dagster_home(here.settings)
    with dg.DagsterInstance.get() as instance:
        report = make_upkeep(
            here.catalog,
            here.object_store,
            instance,
            apply=apply,
            remove_unknown_objects=remove_unknown_objects,
            run_id="upkeep",
        ).run()
    if as_json:
        found = [models.Leftover(**asdict(finding)) for finding in report.findings]
        print_json(models.Upkeep(applied=report.applied, findings=found))
    else:
        _print(report)
    if report.errors:
        raise typer.Exit(ExitCode.FAILED)


def _print(report: "UpkeepReport") -> None:
    if not report.findings:
        console.print("Nothing to do.")
        return
    table = Table("kind", "subject", "detail", "outcome")
    for finding in report.findings:
        table.add_row(finding.kind, finding.subject, finding.detail, report.outcome(finding))
    # The details may contain names of videos.
    console.print(table, markup=False)
    if not report.applied:
        console.print("Nothing was changed; run `captionacc upkeep --apply` to do it.")
