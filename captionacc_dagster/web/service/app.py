"""The app of the service."""

import logging

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from captionacc_dagster import __version__
from captionacc_dagster.web.service import documentation, pages
from captionacc_dagster.web.service.middleware import (
    AnswerTime,
    BodyLimits,
    OriginCheck,
    RequestIds,
    SecurityHeaders,
)
from captionacc_dagster.web.service.parts import ServiceParts
from captionacc_dagster.web.service.problems import PROBLEMS, add_handlers
from captionacc_dagster.web.service.routes import ROUTERS
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)


def create_app(parts: ServiceParts) -> FastAPI:
    """Build the app: the API, its documentation at ``/docs``, and the pages."""
    app = FastAPI(
        title="CaptionA.cc",
        version=__version__,
        description="Videos with burned-in captions: uploads, layouts, captions, jobs and live events.",
        # The usual pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        responses=PROBLEMS,
        middleware=_middleware(parts),
    )
    app.state.parts = parts
    add_handlers(app)
    for router in (*ROUTERS, documentation.router):
        app.include_router(router)
    own_pages: APIRouter = pages.router
    app.include_router(own_pages)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    return app


def _upload_origin(parts: ServiceParts) -> str:
    """Return the origin that pages send uploads to, beside the service's own."""
    try:
        return parts.object_store.upload_origin() or ""
    except CaptionAccError as error:
        _log.warning("pages cannot upload files: %s", error)
        return ""


def _middleware(parts: ServiceParts) -> list[Middleware]:
    """Return what a request passes, outermost first."""
    settings = parts.settings
    origins = [origin for origin in settings.serve_origins.split(",") if origin]
    proxies = [proxy for proxy in settings.webhook_trusted_proxies.split(",") if proxy]
    passed = [
        Middleware(SecurityHeaders, connect=_upload_origin(parts)),
        Middleware(RequestIds),
        Middleware(OriginCheck, origins=origins, only_loopback=not parts.needs_login),
        Middleware(AnswerTime),
        Middleware(BodyLimits),
    ]
    if origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["authorization", "content-type", "last-event-id"],
            expose_headers=["x-request-id"],
        )
        passed.insert(2, cors)
    if proxies:
        passed.insert(0, Middleware(ProxyHeadersMiddleware, trusted_hosts=proxies))
    return passed
