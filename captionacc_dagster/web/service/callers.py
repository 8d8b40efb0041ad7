"""Callers, and the catalogue with the caller's rights.

Where nobody can sign in, which is only possible on loopback, the caller is the operator of this machine.
Otherwise a token of Supabase Auth is required, in the header ``Authorization: Bearer`` or in the session's
cookie, and every statement runs as that user under row-level security.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request

from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.catalog.users import catalog_of_user
from captionacc_dagster.web.rate_limit import client_of
from captionacc_dagster.web.service.parts import Parts, ServiceParts
from captionacc_dagster.web.service.problems import Problem
from captionacc_dagster.web.service.tokens import TokenError, VerifiedToken

#: The prefix lets a browser send it over TLS only, and only to the host that set it.
COOKIE = "__Host-captionacc-session"
#: How long a user's place in a tenant is taken from memory, in seconds.
_PROFILE_SECONDS = 10.0
_PROFILES = 1024

Role = Literal["operator", "owner", "member"]


@dataclass(frozen=True)
class Caller:
    """The sender of a request.

    The operator of this machine has no ``user_id`` and the installation's ``tenant_id``. A platform admin is
    an operator too, with both; the service role has neither.
    """

    user_id: str | None
    tenant_id: str | None
    role: str

    @property
    def is_operator(self) -> bool:
        """True for callers who may act for every tenant."""
        return self.role == "operator"

    @property
    def name(self) -> str:
        """The caller in the catalogue's columns of who did something."""
        return self.user_id or "operator"


@dataclass(frozen=True)
class Session:
    """A caller and the catalogue with their rights."""

    caller: Caller
    catalog: Catalog
    #: When the token expires, in seconds since 1970; ``None`` without login.
    expires_at: float | None = None


class _Profiles:
    """The callers of the last seconds, by user."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, Caller]] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, user_id: str, catalog: Catalog) -> Caller:
        """Return the user as a caller. Raises :class:`Problem` for a user who is not approved."""
        with self._guard:
            until, caller = self._known.get(user_id, (0.0, None))
        if caller is not None and time.monotonic() < until:
            return caller
        profile = catalog.get_profile(user_id)
        if profile is None or profile.approval_status != "approved":
            raise Problem(
                403, "your account is not approved: an owner or an admin has to", reason="not_approved"
            )
        role: Role = "operator" if profile.is_platform_admin else profile.role
        caller = Caller(user_id, profile.tenant_id, role)
        with self._guard:
            self._known[user_id] = (time.monotonic() + _PROFILE_SECONDS, caller)
            while len(self._known) > _PROFILES:
                self._known.popitem(last=False)
        return caller


_profiles = _Profiles()


def token_of(request: Request) -> str | None:
    """Return the token that the request shows."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.cookies.get(COOKIE)


def verified_token(request: Request, parts: ServiceParts) -> VerifiedToken:
    """Return the request's token. Raises :class:`TokenError`, and :class:`Problem` after too many."""
    if parts.tokens is None:
        raise TokenError("nobody signs in here: no login is configured")
    token = token_of(request)
    try:
        if token is None:
            raise TokenError("sign in: a token is required")
        return parts.tokens.verify(token)
    except TokenError:
        count_refusal(request, parts)
        raise


def count_refusal(request: Request, parts: ServiceParts) -> None:
    """Count a request with a missing or wrong token. Raises :class:`Problem` after too many."""
    _limit(parts.limits.wait_seconds_of_refused(client_of(request)))


def session_of(request: Request, parts: Parts) -> Session:
    """Return the request's session, and count the request. Raises :class:`Problem`."""
    if not parts.needs_login:
        caller = Caller(None, str(parts.settings.tenant_id), "operator")
        _limit(parts.limits.wait_seconds(client_of(request)))
        return Session(caller, parts.catalog)
    token = verified_token(request, parts)
    _limit(parts.limits.wait_seconds(token.user_id or token.role))
    if token.user_id is None:
        return Session(Caller(None, None, "operator"), parts.catalog, token.claims["exp"])
    catalog = catalog_of_user(parts.catalog, token.text, token.claims)
    return Session(_profiles.get(token.user_id, catalog), catalog, token.claims["exp"])


def _limit(wait: float) -> None:
    if wait:
        raise Problem(
            429,
            "too many requests: wait a moment",
            reason="rate_limit",
            headers={"retry-after": str(int(wait) + 1)},
        )


CurrentSession = Annotated[Session, Depends(session_of)]


# Coroutines, because FastAPI gives every other dependency to a thread.
async def current_caller(session: CurrentSession) -> Caller:
    """Return who sent the request."""
    return session.caller


async def caller_catalog(session: CurrentSession) -> Catalog:
    """Return the catalogue with the caller's rights."""
    return session.catalog


CurrentCaller = Annotated[Caller, Depends(current_caller)]
CallerCatalog = Annotated[Catalog, Depends(caller_catalog)]
