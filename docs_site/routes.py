"""The routes of the HTTP service, from its OpenAPI document."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, cast

from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.settings import Settings
from captionacc_dagster.web.service.app import create_app
from captionacc_dagster.web.service.parts import ServiceParts
from docs_site.markdown import cell, code, table
from modal_gpu.storage import ObjectStore

#: The document, beside the page with the routes.
DOCUMENT = "openapi.json"
_METHODS = ("get", "post", "put", "patch", "delete")


@cache
def openapi() -> dict[str, Any]:
    """Return the OpenAPI document. No request is answered, so there is no catalogue."""
    with tempfile.TemporaryDirectory() as folder:
        store = ObjectStore.from_url(Path(folder).as_uri())
        settings = Settings(_env_file=None, CAPTIONACC_HOME=folder)
        app = create_app(ServiceParts(settings, cast(Catalog, None), store))
        return app.openapi()


def document() -> str:
    """Return the document as it is published beside the page."""
    return json.dumps(openapi(), indent=1, ensure_ascii=False)


def route_reference() -> str:
    """Return a table of all routes, a section for each, and the fields of their models."""
    routes = [
        (method.upper(), path, operation)
        for path, operations in openapi()["paths"].items()
        for method, operation in operations.items()
        if method in _METHODS
    ]
    overview = table(
        ["route", "what it does"],
        ((code(f"{method} {path}"), cell(_title(operation))) for method, path, operation in routes),
    )
    sections = [_section(method, path, operation) for method, path, operation in routes]
    models = openapi().get("components", {}).get("schemas", {})
    shapes = [_shape(name, schema) for name, schema in sorted(models.items())]
    link = f"[{DOCUMENT}]({DOCUMENT}) is the same for programs."
    return "\n\n".join([link, overview, "## Routes", *sections, "## Models", *shapes])


def _title(operation: dict[str, Any]) -> str:
    description = str(operation.get("description", "")).partition("\n\n")[0]
    return description or str(operation.get("summary", ""))


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"### {method} {path}", cell(operation.get("description", "") or _title(operation))]
    parameters = [
        (code(one["name"]), one["in"], _type(one.get("schema", {})), cell(one.get("description", "")))
        for one in operation.get("parameters", [])
    ]
    if parameters:
        parts.append(table(["parameter", "in", "type", "meaning"], parameters))
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body: {_type(content.get('schema', {}))} as `{media}`.")
    answers = [
        (code(status), ", ".join(_contents(answer)), cell(answer.get("description", "")))
        for status, answer in operation.get("responses", {}).items()
    ]
    parts.append(table(["status", "content", "meaning"], answers))
    return "\n\n".join(parts)


def _contents(answer: dict[str, Any]) -> list[str]:
    return [
        _type(content["schema"]) if content.get("schema") else f"`{media}`"
        for media, content in answer.get("content", {}).items()
    ] or ["–"]


def _shape(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (code(field), _type(of), "yes" if field in required else "no", cell(of.get("description", "")))
        for field, of in schema.get("properties", {}).items()
    ]
    parts = [f"### {name}", cell(schema.get("description", ""))]
    parts.append(table(["field", "type", "required", "meaning"], rows) if rows else f"{_type(schema)}.")
    return "\n\n".join(part for part in parts if part)


def _type(schema: dict[str, Any]) -> str:
    """Return a JSON schema in words, with links to the models on the page."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_type(option) for option in options)
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    if "const" in schema:
        return code(str(schema["const"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "null":
        return "`null`"
    kind = str(schema.get("type", "any"))
    return f"{kind} ({schema['format']})" if "format" in schema else kind
