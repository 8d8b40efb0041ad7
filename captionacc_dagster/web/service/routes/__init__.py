"""The routes of the API, one module a subject. A new module is listed in :data:`ROUTERS`."""

from fastapi import APIRouter

from captionacc_dagster.web.service.routes import (
    actions,
    captions,
    events,
    health,
    jobs,
    layouts,
    pictures,
    sessions,
    uploads,
    videos,
    webhooks,
)

#: In the order of the documentation.
ROUTERS: tuple[APIRouter, ...] = (
    videos.router,
    uploads.router,
    actions.router,
    layouts.router,
    captions.router,
    pictures.router,
    jobs.router,
    events.router,
    sessions.router,
    webhooks.router,
    health.router,
)
