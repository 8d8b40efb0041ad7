"""The files of ``supabase/schemas``, in the order that ``supabase/config.toml`` gives the Supabase CLI."""

import tomllib
from pathlib import Path

import psycopg

from captionacc_dagster.constants import DEFAULT_SCHEMA
from captionacc_dagster.resources.catalog.schema_names import rendered

SUPABASE = Path(__file__).resolve().parents[1] / "supabase"


class SchemaFilesError(Exception):
    """The schema files and their order do not fit together, or a file cannot be applied."""


def schema_files(supabase: Path = SUPABASE) -> list[Path]:
    """Return every schema file once, at its first place in ``schema_paths``.

    Raises :class:`SchemaFilesError` for a pattern without files and for a file without a pattern.
    """
    configuration = tomllib.loads((supabase / "config.toml").read_text(encoding="utf-8"))
    ordered: list[Path] = []
    for pattern in configuration["db"]["migrations"]["schema_paths"]:
        matching = sorted(supabase.glob(pattern.removeprefix("./")))
        if not matching:
            raise SchemaFilesError(f"schema_paths in {supabase / 'config.toml'}: nothing matches {pattern}")
        ordered += [path for path in matching if path not in ordered]
    if unordered := sorted(set((supabase / "schemas").rglob("*.sql")) - set(ordered)):
        raise SchemaFilesError(f"schema_paths in {supabase / 'config.toml'} does not name {unordered[0]}")
    return ordered


def apply_schema_files(
    connection: psycopg.Connection, schema: str = DEFAULT_SCHEMA, supabase: Path = SUPABASE
) -> None:
    """Create a schema as the files describe it, in one transaction.

    Raises :class:`SchemaFilesError` with the file that cannot be applied, and the reason.
    """
    with connection.transaction():
        for path in schema_files(supabase):
            try:
                # Without parameters psycopg sends the file at once, with all of its statements.
                connection.execute(rendered(path.read_text(encoding="utf-8"), schema).encode())
            except psycopg.Error as error:
                raise SchemaFilesError(f"{path.relative_to(supabase)}: {error}") from None


def joined_files(supabase: Path = SUPABASE) -> str:
    """Return all files as one text, each under its path: the first migration."""
    parts = [
        f"-- {path.relative_to(supabase).as_posix()}\n\n{path.read_text(encoding='utf-8').strip()}\n"
        for path in schema_files(supabase)
    ]
    return "-- The catalogue as supabase/schemas describes it, file by file.\n\n" + "\n".join(parts)


def function_texts(supabase: Path = SUPABASE) -> dict[str, str]:
    """Return the text of each function's own file by the function's name."""
    return {
        path.stem: path.read_text(encoding="utf-8").strip()
        for path in schema_files(supabase)
        if "functions" in path.relative_to(supabase).parts
    }
