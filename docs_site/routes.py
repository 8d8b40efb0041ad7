"""The routes of the HTTP service, from its OpenAPI document."""

import json
import tempfile
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.settings import Settings
from captionacc_dagster.web.service.app import create_app
from captionacc_dagster.web.service.parts import ServiceParts
from captionacc_dagster.web.service.problems import PROBLEMS
from docs_site.markdown import cell, code, table
from modal_gpu.storage import ObjectStore

#: The document, beside the page with the routes.
DOCUMENT = "openapi.json"
#: Parameters that many routes have.
_PATH = {
    "video_id": "id of the video",
    "job_id": "id of the job",
    "caption_id": "id of the caption",
    "stage": "the stage",
    "zone": "caption zone; 0 is the crop region",
}
_NOTES = (
    f"[{DOCUMENT}]({DOCUMENT}) is the same for programs. Besides the answers listed here, any route may "
    "answer one of the [errors](api.md#errors), as a [ProblemBody](#problembody)."
)
#: From here on a limit is only that of the type.
_NONE = 2**31 - 1
#: What a JSON schema calls limits.
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "maxLength": "at most {} characters",
}
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
    return "\n\n".join([_NOTES, overview, "## Routes", *sections, "## Models", *shapes])


def _title(operation: dict[str, Any]) -> str:
    description = str(operation.get("description", "")).partition("\n\n")[0]
    return description or str(operation.get("summary", ""))


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"### {method} {path}", cell(operation.get("description", "") or _title(operation))]
    parameters = [
        (code(one["name"]), one["in"], _type(one.get("schema", {})), _default(one), _meaning(one))
        for one in operation.get("parameters", [])
    ]
    if parameters:
        parts.append(table(["parameter", "in", "type", "default", "meaning"], parameters))
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body: {_type(content.get('schema', {}))} as `{media}`.")
    answers = [
        (code(status), ", ".join(_contents(answer)), _answer_meaning(status, answer))
        for status, answer in sorted(operation.get("responses", {}).items())
        if not _is_common(status, answer)
    ]
    parts.append(table(["status", "content", "meaning"], answers))
    return "\n\n".join(parts)


def _is_common(status: str, answer: dict[str, Any]) -> bool:
    """Return whether any route may answer this: a problem with nothing of the route's own."""
    common = PROBLEMS.get(int(status), {}).get("description")
    return answer.get("description") == common and _contents(answer) == ["[ProblemBody](#problembody)"]


def _answer_meaning(status: str, answer: dict[str, Any]) -> str:
    meaning = cell(answer.get("description", ""))
    return HTTPStatus(int(status)).phrase if meaning == "Successful Response" else meaning


def _default(parameter: dict[str, Any]) -> str:
    if parameter.get("required"):
        return "required"
    default = parameter.get("schema", {}).get("default")
    return "–" if default is None else code(default if isinstance(default, str) else json.dumps(default))


def _meaning(parameter: dict[str, Any]) -> str:
    return cell(parameter.get("description") or _PATH.get(parameter["name"], ""))


def _contents(answer: dict[str, Any]) -> list[str]:
    """Return the types of an answer, each once; the media type where there is no schema."""
    types = (
        _type(content["schema"]) if content.get("schema") else f"`{media}`"
        for media, content in answer.get("content", {}).items()
    )
    return list(dict.fromkeys(types)) or ["–"]


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
    limits = [schema["format"]] if "format" in schema else []
    limits += [
        text.format(f"{schema[key]:.7g}") for key, text in _LIMITS.items() if schema.get(key, _NONE) < _NONE
    ]
    return f"{kind} ({', '.join(limits)})" if limits else kind
