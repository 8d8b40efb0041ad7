"""JSON of commands, compared with the tables of docs/reference/commands.md."""

import json
from functools import cache
from typing import Any

import jsonschema  # comes with check-jsonschema

from captionacc_dagster.cli.json_tables import schema

_validator = cache(lambda command: jsonschema.Draft202012Validator(schema(command)))


def as_documented(command: str, output: str) -> Any:
    """Return the JSON that a command line of ``SHAPES`` printed. Fails where it is not what is documented."""
    value = json.loads(output)
    _validator(command).validate(value)
    return value
