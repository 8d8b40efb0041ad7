"""A schema of a database as text, to be compared with another."""

import re
import subprocess

import psycopg

from captionacc_dagster.resources.catalog.embedded_files import binaries

PUBLICATION = "supabase_realtime"
_PUBLISHED = "select tablename from pg_publication_tables where pubname = %s and schemaname = %s order by 1"


def dumped(dsn: str, schema: str) -> str:
    """Return everything in a schema as SQL, with ``captionacc`` in place of its name.

    Beside what ``pg_dump`` writes (tables, functions, policies, grants, comments) it has the tables in
    Supabase's publication and the rows that belong to the schema.
    """
    program = binaries() / "pg_dump"
    command = [str(program), "--schema", f'"{schema}"', dsn]
    definitions = _output([*command, "--schema-only"])
    data = _output([*command, "--data-only", "--inserts", "--table", f'"{schema}".access_tiers'])
    rows = "\n".join(sorted(line for line in data.splitlines() if line.startswith("INSERT ")))
    with psycopg.connect(dsn) as connection:
        published = connection.execute(_PUBLISHED, [PUBLICATION, schema]).fetchall()
    text = definitions + rows + "\n" + "".join(f"-- published: {table}\n" for (table,) in published)
    # pg_dump's own lines: headings with the bare name, and a random word.
    text = re.sub(r"^(-- Name: |\\(un)?restrict ).*$", "", text, flags=re.MULTILINE)
    text = text.replace(f'"{schema}"', "captionacc").replace(f"'{schema}'", "'captionacc'")
    # The server leaves quotes out where a name needs none; a word such as order needs them.
    return text if schema == "order" else re.sub(rf"\b{re.escape(schema)}\b(?!-)", "captionacc", text)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
