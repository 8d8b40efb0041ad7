"""The parts that the service works with, and how a route gets them."""

import threading
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Request

from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.settings import Settings
from captionacc_dagster.web.announcements import Announcements
from captionacc_dagster.web.service.limits import RateLimits
from captionacc_dagster.web.service.tokens import Tokens
from captionacc_dagster.web.starter import Started
from captionacc_dagster.web.webhook import Starter as LayoutStarter
from captionacc_dagster.web.webhook import Webhook
from modal_gpu.storage import ObjectStore


class Starter(LayoutStarter, Protocol):
    """The part of :class:`~captionacc_dagster.web.starter.RunStarter` that the service uses."""

    def start_captions(self, video_id: str) -> Started: ...


@dataclass(frozen=True)
class ServiceParts:
    """The parts of the service. Everything here has the platform's own rights, not a caller's.

    ``tokens`` verifies the users' tokens; without it nobody signs in, and every caller is the operator of
    this machine. Without a ``starter`` the sensors start the work, seconds later.
    """

    settings: Settings
    catalog: Catalog
    object_store: ObjectStore
    tokens: Tokens | None = None
    starter: Starter | None = None
    webhook: Webhook | None = None
    #: Without it, live events are polled.
    announcements: Announcements | None = None
    limits: RateLimits = field(default_factory=RateLimits)
    _ending: threading.Event = field(default_factory=threading.Event)

    @property
    def is_ending(self) -> bool:
        """True once the service was asked to end: open streams end then."""
        return self._ending.is_set()

    def begin(self) -> None:
        """Start to listen for announcements."""
        if self.announcements is not None:
            self.announcements.begin()

    def end(self) -> None:
        """Ask open streams to end."""
        self._ending.set()

    def close(self) -> None:
        """Stop listening, once the server has ended."""
        self._ending.set()
        if self.announcements is not None:
            self.announcements.end()

    @property
    def needs_login(self) -> bool:
        """True if callers have to show a token."""
        return self.tokens is not None


async def service_parts(request: Request) -> ServiceParts:
    """Return the parts of the app that serves the request."""
    parts: ServiceParts = request.app.state.parts
    return parts


Parts = Annotated[ServiceParts, Depends(service_parts)]
