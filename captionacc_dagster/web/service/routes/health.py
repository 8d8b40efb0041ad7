"""``/livez`` and ``/healthz``: whether the process serves, and whether it can do its work."""

import logging
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from captionacc_dagster.web.service.parts import Parts
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


class Live(BaseModel):
    """The process serves."""

    status: Literal["ok"] = "ok"


class Health(BaseModel):
    """The state of the catalogue. Says nothing about the bucket, or about Dagster's daemon."""

    status: Literal["ok", "failing"]
    catalogue: Literal["ok", "failing"]


@router.get("/livez")
async def livez() -> Live:
    """Answer while the process serves."""
    return Live()


@router.get("/healthz", responses={503: {"model": Health}})
def healthz(parts: Parts, response: Response) -> Health:
    """Answer 200 if the catalogue answers, else 503. The log has the reason."""
    try:
        parts.catalog.list_access_tiers()
    except CaptionAccError as error:
        _log.warning("the catalogue does not answer: %s", error)
        response.status_code = 503
        return Health(status="failing", catalogue="failing")
    return Health(status="ok", catalogue="ok")
