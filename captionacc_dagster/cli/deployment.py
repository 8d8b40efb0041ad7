"""``prepare`` and ``trim``: preparation of a deployment, and removal of old events."""

import os
from typing import Annotated

import typer

from captionacc_dagster.cli.app import Use, parts
from captionacc_dagster.cli.numbers import FiniteRange
from captionacc_dagster.cli.root import app, console, say
from captionacc_dagster.platform.homes import require_home
from captionacc_dagster.settings import Settings


def use_dagster_home(settings: Settings, *, make: bool = False) -> None:
    """Set ``DAGSTER_HOME`` for this process; with ``make``, create the home first if there is none.

    An existing configuration, and pool limits that an operator has changed, are kept. Raises
    :class:`NoHomeError` if there is no home and ``make`` is false.
    """
    from captionacc_dagster.platform.dagster_home import prepare_dagster_home

    if not make and settings.dagster_home.parent == settings.home:
        require_home(settings.home)
    if (settings.dagster_home / "dagster.yaml").exists():
        os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
        return
    prepare_dagster_home(settings)


@app.command()
def prepare(
    tenant: Annotated[
        str | None, typer.Option(help="also create the tenant CAPTIONACC_TENANT_ID, with this name")
    ] = None,
) -> None:
    """Prepare a new or upgraded deployment: catalogue, Dagster's tables, pools. Safe to repeat."""
    import dagster as dg

    from captionacc_dagster.platform.dagster_home import set_missing_pool_limits
    from captionacc_dagster.resources.catalog.migrations import migrate
    from captionacc_dagster.resources.opening import database_dsn

    here = parts(Use.MAKE)
    settings = here.settings
    here.open_home()
    applied = migrate(database_dsn(settings), schema=settings.catalogue_schema)
    console.print(f"catalogue: {', '.join(applied) or 'up to date'}", highlight=False)
    use_dagster_home(settings, make=True)
    with dg.DagsterInstance.get() as instance:
        # Here, in one process: several that create the tables at the same time can fail.
        instance.get_runs_count()
        instance.upgrade()
        limits = ", ".join(f"{pool} {limit}" for pool, limit in set_missing_pool_limits(instance).items())
        console.print(f"Dagster: tables up to date, pools {limits}", highlight=False)
    if tenant:
        row = here.catalog.ensure_tenant(str(settings.tenant_id), tenant)
        say(f"tenant: {row.tenant_id}, {row.name}, tier {row.tier}")


@app.command()
def trim(
    older_than_days: Annotated[
        float, typer.Option(click_type=FiniteRange(0, 36_500), help="remove what is older than this")
    ] = 60,
) -> None:
    """Remove the step events of old runs, and old outcomes of stages."""
    import dagster as dg

    from captionacc_dagster.dagster_internals.retention import trim_events

    here = parts(Use.WRITE)
    use_dagster_home(here.settings)
    with dg.DagsterInstance.get() as instance:
        removed = trim_events(instance, older_than_days)
    outcomes = here.catalog.purge_stage_outcomes(older_than_days * 86_400)
    console.print(f"removed {removed} events and {outcomes} outcomes", highlight=False)
