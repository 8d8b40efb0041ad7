"""A schema as text, to be compared with another."""

import re
import subprocess

from captionacc_dagster.resources.catalog import embedded_postgres


def dumped(dsn: str, schema: str) -> str:
    """Everything in a schema as SQL, its grants included, with ``captionacc`` in place of its name."""
    program = embedded_postgres._binaries() / "pg_dump"
    command = [program, "--schema-only", "--schema", f'"{schema}"', dsn]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # pg_dump's own lines: headings with the bare name, and a random word.
    text = re.sub(r"^(-- Name: |\\(un)?restrict ).*$", "", text, flags=re.MULTILINE)
    text = text.replace(f'"{schema}"', "captionacc").replace(f"'{schema}'", "'captionacc'")
    # The server leaves quotes out where a name needs none; a word such as order needs them.
    return text if schema == "order" else re.sub(rf"\b{re.escape(schema)}\b(?!-)", "captionacc", text)
