"""``prepare`` and ``trim``: what a deployment needs before it starts, and now and then."""

import os
from typing import Annotated

import typer

from captionacc_dagster.cli.app import Use, app, console, parts, say
from captionacc_dagster.cli.numbers import FiniteRange
from captionacc_dagster.platform.homes import require_home
from captionacc_dagster.settings import Settings


def use_dagster_home(settings: Settings, *, make: bool = False) -> None:
    """Dagster's home of this process: the one that is there, untouched, or, with ``make``, a new one.

    Its configuration, and limits of pools that an operator has changed, stay as they are. Raises
    :class:`NoHomeError` where there is none to be used.
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
        str | None, typer.Option(help="also make the tenant CAPTIONACC_TENANT_ID, of this name")
    ] = None,
) -> None:
    """Prepare a deployment, or one that was upgraded: catalogue, Dagster's tables, pools. Safe to repeat."""
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
        # Alone: processes that make the tables at the same time can break each other.
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
        float, typer.Option(click_type=FiniteRange(0, 36_500), help="age of what is removed")
    ] = 60,
) -> None:
    """Remove step-by-step events of runs that ended long ago, and old outcomes of stages."""
    import dagster as dg

    from captionacc_dagster.dagster_internals.retention import trim_events

    here = parts(Use.WRITE)
    use_dagster_home(here.settings)
    with dg.DagsterInstance.get() as instance:
        removed = trim_events(instance, older_than_days)
    outcomes = here.catalog.purge_stage_outcomes(older_than_days * 86_400)
    console.print(f"removed {removed} events and {outcomes} outcomes", highlight=False)
