"""``POST /webhooks/supabase/videos``: Supabase's database webhook, with a secret of its own."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from captionacc_dagster.web.service.parts import Parts

router = APIRouter(tags=["webhooks"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "table", "record"],
                    "properties": {
                        "type": {"type": "string", "examples": ["INSERT"]},
                        "table": {"type": "string", "examples": ["videos"]},
                        "schema": {"type": "string", "examples": ["captionacc"]},
                        "record": {"type": ["object", "null"]},
                    },
                }
            }
        },
    },
}
_ANSWER = {"type": "object", "properties": {"success": {"type": "boolean"}, "status": {"type": "string"}}}


def _answers() -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": _ANSWER}}
    texts = {
        200: "ignored: not an insert into videos",
        202: "accepted: the run's id and priority, or the sensor starts it",
        400: "the payload is not valid",
        401: "the bearer secret is missing or wrong",
        404: "no webhook is configured",
        408: "the body was not sent in time",
        413: "the body is too large",
        429: "too many requests",
        500: "the log has the reason; the sensor starts the video",
        503: "a part does not answer; the sensor starts the video",
    }
    return {code: {"description": text, "content": content} for code, text in texts.items()}


@router.post("/webhooks/supabase/videos", openapi_extra=_BODY, responses=_answers(), status_code=202)
async def videos(request: Request, parts: Parts) -> Response:
    """Start a new video's layout, for Supabase's webhook. ``Authorization: Bearer`` holds the secret."""
    if parts.webhook is None:
        message = "no webhook is configured: set CAPTIONACC_WEBHOOK_SECRET"
        return JSONResponse(
            {"success": False, "status": "refused", "reason": message, "message": message}, 404
        )
    return await parts.webhook.videos(request)
