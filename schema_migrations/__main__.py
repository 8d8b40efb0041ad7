"""``make migration NAME=…``: writes ``supabase/migrations/<version>_<name>.sql``."""

from typing import Annotated

import typer

from modal_gpu.errors import CaptionAccError
from schema_migrations.schema_files import SchemaFilesError
from schema_migrations.writing import scratch_server, write_migration


def main(name: Annotated[str, typer.Argument(help="What changes, such as add_zones.")]) -> None:
    """Write the next migration from what changed in supabase/schemas.

    Exits with 1 where a person has to complete the file; the difference that is left is printed.
    """
    try:
        with scratch_server() as server:
            databases = [server.ensure_running(database) for database in ("behind", "wanted")]
            written = write_migration(name, behind_dsn=databases[0], wanted_dsn=databases[1])
    except (CaptionAccError, SchemaFilesError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if written.path:
        typer.echo(f"wrote {written.path}")
    for line in written.by_hand:
        typer.echo(f"to be written by hand: {line}", err=True)
    if written.remaining:
        typer.echo(f"the schemas differ from the migrations in:\n{written.remaining}", err=True)
    if not written.complete:
        raise typer.Exit(1)
    if not written.path:
        typer.echo("the migrations give what the schemas describe: nothing to write")


if __name__ == "__main__":
    typer.run(main)
