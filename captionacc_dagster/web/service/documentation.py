"""``/docs``: the OpenAPI document as a page, rendered here because pages load no scripts from elsewhere."""

import json
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

router = APIRouter(include_in_schema=False)
_METHODS = ("get", "post", "put", "patch", "delete")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Show every route with its parameters, its body and its answers."""
    document: dict[str, Any] = request.app.openapi()
    schemas = document.get("components", {}).get("schemas", {})
    parts = [
        _operation(path, method, operation, schemas)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in _METHODS
    ]
    title = escape(document["info"]["title"])
    body = (
        f"<h1>{title} {escape(document['info']['version'])}</h1><p>{escape(document['info']['description'])} "
        'For programs: <a href="/openapi.json">/openapi.json</a>.</p>' + "".join(parts)
    )
    head = f'<meta charset="utf-8"><title>{title}: API</title>'
    return HTMLResponse(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>')


def _operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    heading = f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    text = f"<p>{escape(operation.get('description', ''))}</p>"
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
        f"<td>{escape(_kind(each.get('schema', {})))}</td><td>{escape(each.get('description', ''))}</td></tr>"
        for each in operation.get("parameters", [])
    )
    table = (
        f"<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>{rows}</table>" if rows else ""
    )
    sent = _content(operation.get("requestBody", {}), schemas)
    answers = "".join(
        f"<li>{escape(status)} {escape(answer.get('description', ''))}"
        f"{_content(answer, schemas) if status.startswith('2') else ''}</li>"
        for status, answer in operation["responses"].items()
    )
    body = f"<h3>body</h3>{sent}" if sent else ""
    return f"<section>{heading}{text}{table}{body}<h3>answers</h3><ul>{answers}</ul></section>"


def _content(holder: dict[str, Any], schemas: dict[str, Any]) -> str:
    return "".join(
        f"<details><summary>{escape(media)}</summary><pre>"
        f"{escape(json.dumps(_resolved(described.get('schema', {}), schemas), indent=1))}</pre></details>"
        for media, described in holder.get("content", {}).items()
    )


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    resolved: dict[str, Any] = schemas.get(name, schema)
    return resolved


def _kind(schema: dict[str, Any]) -> str:
    kinds = [each.get("format") or each.get("type", "") for each in schema.get("anyOf", [schema])]
    return " or ".join(kind for kind in kinds if kind)
