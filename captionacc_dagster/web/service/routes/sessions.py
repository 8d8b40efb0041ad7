"""``/session``: who the caller is, and the cookie with which pages show a token."""

import time
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, StringConstraints

from captionacc_dagster.web.service.callers import COOKIE, CurrentCaller, count_refusal
from captionacc_dagster.web.service.models import Request as Body
from captionacc_dagster.web.service.parts import Parts
from captionacc_dagster.web.service.problems import Problem
from captionacc_dagster.web.service.tokens import TokenError

router = APIRouter(prefix="/session", tags=["session"])


class Who(BaseModel):
    """The caller. ``role``: operator, owner or member."""

    user_id: str | None
    tenant_id: str | None
    role: str


class SignIn(Body):
    """A token of Supabase Auth."""

    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", min_length=1, max_length=3800)]


@router.get("")
def who(caller: CurrentCaller) -> Who:
    """Return who the caller is."""
    return Who(user_id=caller.user_id, tenant_id=caller.tenant_id, role=caller.role)


@router.post("", status_code=204)
def sign_in(request: Request, body: SignIn, parts: Parts, response: Response) -> None:
    """Keep a token in a cookie that scripts cannot read and other sites do not send."""
    if parts.tokens is None:
        raise Problem(409, "nobody signs in here: no login is configured", reason="no_login")
    try:
        token = parts.tokens.verify(body.token)
    except TokenError:
        count_refusal(request, parts)
        raise
    left = max(0, int(token.claims["exp"] - time.time()))
    # Browsers take localhost for secure, so the cookie works there too.
    response.set_cookie(
        COOKIE, body.token, max_age=left, path="/", secure=True, httponly=True, samesite="strict"
    )


@router.delete("", status_code=204)
def sign_out(request: Request, response: Response) -> None:
    """Remove the cookie. The token itself stays valid until it expires."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
