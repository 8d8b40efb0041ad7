"""``--json``: the option, and the one place that prints it."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from captionacc_dagster.cli.json_models import Output

#: For every command that lists or reports.
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, as in docs/reference/commands.md")]


def print_json(value: Output | Sequence[Output]) -> None:
    """Print a model or a list of them on standard output, and nothing else there."""
    data: Any = (
        value.model_dump(mode="json")
        if isinstance(value, Output)
        else [one.model_dump(mode="json") for one in value]
    )
    # Escapes of characters that an encoding lacks would otherwise be Python's, which JSON does not know.
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(data, indent=2, ensure_ascii=not is_unicode)
    sys.stdout.write(f"{text}\n")
