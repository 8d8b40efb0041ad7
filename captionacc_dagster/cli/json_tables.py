"""The tables of docs/reference/commands.md: the shape of each ``--json``, and its fields.

``python -m captionacc_dagster.cli.json_tables`` prints them.
"""

import re
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from captionacc_dagster.cli import adoption_models as adoption
from captionacc_dagster.cli import json_comparison_models as comparison
from captionacc_dagster.cli import json_models as models
from captionacc_dagster.cli import json_operation_models as operations

#: The shape for each command line with ``--json``.
SHAPES: dict[str, Any] = {
    "extract": models.ExtractedVideos,
    "ingest": models.Ingested,
    "status": models.Videos,
    "status VIDEO": models.Video,
    "retry": models.Retried,
    "captions show": list[models.Caption],
    "captions set|split|merge|shift|confirm": models.Edit,
    "import": models.Import,
    "export --format json": list[models.Caption],
    "compare": comparison.Comparison,
    "backfill": operations.BackfillChoice,
    "backfill --list": operations.Backfills,
    "backfill --cancel": operations.Cancelled,
    "infer": operations.Inferred,
    "upkeep": operations.Upkeep,
    "adopt": adoption.Adoption,
    "adopt --export": adoption.AdoptionExport,
    "doctor": operations.Findings,
    "layout show": models.VideoLayout,
    "cost": list[operations.CostLine],
    "cost estimate": operations.CostEstimate,
    "cost compare": list[operations.Configuration],
    "cost limit": operations.TenantLimits,
    "cost limit --tier": operations.TierLimits,
    "ocr list": operations.Languages,
    "model list": operations.Models,
    "model verify": operations.VerifiedModels,
}


def schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of what a command line of :data:`SHAPES` prints."""
    return TypeAdapter(SHAPES[command]).json_schema(mode="serialization")


def tables() -> str:
    """Return the tables as Markdown."""
    lines = ["| `--json` with | prints |", "| --- | --- |"]
    shapes: dict[str, dict[str, Any]] = {}
    for command in SHAPES:
        found = schema(command)
        own = {key: value for key, value in found.items() if key != "$defs"}
        if "title" in own and own.get("type") == "object":
            shapes.setdefault(own["title"], own)
        escaped = command.replace("|", "\\|")
        lines.append(f"| `{escaped}` | {_type(own)} |")
        for name, shape in found.get("$defs", {}).items():
            shapes.setdefault(name, shape)
    for name, shape in shapes.items():
        lines += ["", f"### {name}", "", shape["description"].replace("\n", " "), ""]
        lines += ["| field | type | content |", "| --- | --- | --- |", *_rows(shape)]
    return "\n".join(lines) + "\n"


def _rows(shape: dict[str, Any]) -> Iterator[str]:
    for name, kind in shape["properties"].items():
        yield f"| `{name}` | {_type(kind)} | {kind.get('description', '')} |"


def _type(kind: dict[str, Any]) -> str:
    """Return a schema's type in words; a shape is a link to its table."""
    if "$ref" in kind:
        name = kind["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in kind:
        return " or ".join(_type(one) for one in kind["anyOf"])
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    if kind["type"] == "array":
        return f"list of {_type(kind['items'])}"
    if kind["type"] == "object" and "properties" in kind:
        return f"[{kind['title']}](#{kind['title'].lower()})"
    if kind["type"] == "object":
        return f"object of {_type(kind['additionalProperties'])}"
    word = {"null": "`null`", "boolean": "true or false"}.get(kind["type"], kind["type"])
    return "time" if kind.get("format") == "date-time" else word


def replaced(page: str) -> str:
    """Return the text of docs/reference/commands.md with the present tables."""
    return re.sub(
        r"(?<=<!-- json tables -->\n).*?(?=<!-- end of json tables -->)",
        lambda _: f"\n{tables()}\n",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    sys.stdout.write(tables())
