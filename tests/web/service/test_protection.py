"""What protects the service: hosts, origins, headers, cookies, limits of size, time and number."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from captionacc_dagster.settings import Settings, SettingsError
from captionacc_dagster.web.service.app import create_app
from captionacc_dagster.web.service.callers import COOKIE
from captionacc_dagster.web.service.limits import RateLimits
from captionacc_dagster.web.service.middleware import (
    ANSWER_SECONDS,
    BODY_SECONDS,
    MAX_BODY_BYTES,
    AnswerTime,
    BodyLimits,
    OriginCheck,
    RequestIds,
    is_loopback,
)
from captionacc_dagster.web.service.problems import MEDIA_TYPE
from captionacc_dagster.web.service.serving import check_exposure, host_of_platform
from captionacc_dagster.web.service.tokens import KeysUnavailableError, TokenError, Tokens
from tests.postgrest.server import SECRET, make_key
from tests.resources.catalog.world import OWNER
from tests.web.service.conftest import HOST


async def hello(request: Request) -> Response:
    await request.body()
    return Response("hello")


def guarded(*layers: Middleware) -> TestClient:
    """A client of a small app behind some of the service's layers."""
    routes = [Route("/", hello, methods=["GET", "POST"])]
    return TestClient(Starlette(routes=routes, middleware=[*layers]), base_url="http://localhost")


@contextmanager
def served(document: str) -> Iterator[str]:
    """Serve a JSON document on this machine within the block; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(document.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        server.shutdown()


class TestOrigins:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 200),
            ({"origin": "http://localhost"}, 200),
            ({"origin": "https://app.example.com"}, 200),
            ({"origin": "https://evil.example.com"}, 403),
            ({"origin": "http://localhost:8000"}, 403),
            ({"origin": "null"}, 403),
            ({"origin": "http://["}, 403),
            ({"sec-fetch-site": "same-origin"}, 200),
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"sec-fetch-site": "same-site"}, 403),
            ({"cookie": f"{COOKIE}=x"}, 403),
            ({"cookie": f"{COOKIE}=x", "origin": "http://localhost"}, 200),
            ({"cookie": f"{COOKIE}=x", "authorization": "Bearer x"}, 200),
        ],
    )
    def test_a_change_that_another_site_asks_for_is_refused(self, headers, status):
        client = guarded(Middleware(OriginCheck, origins=["https://app.example.com"]))
        assert client.post("/", headers=headers).status_code == status
        assert client.get("/", headers=headers).status_code == 200

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("localhost:3001", 200),
            ("127.0.0.1", 200),
            ("[::1]:3001", 200),
            ("LOCALHOST.", 200),
            ("evil.example.com", 403),
            ("127.0.0.1.evil.example.com", 403),
            ("[", 403),
            ("", 403),
        ],
    )
    def test_without_login_only_names_of_this_machine_are_answered(self, host, status):
        assert guarded(Middleware(OriginCheck)).get("/", headers={"host": host}).status_code == status
        shared = guarded(Middleware(OriginCheck, only_loopback=False))
        assert shared.get("/", headers={"host": host}).status_code == 200


class TestLimits:
    def test_a_large_body_is_refused_whatever_its_length_claims(self):
        client = guarded(Middleware(BodyLimits, max_bytes=10))
        assert client.post("/", content=b"x" * 10).status_code == 200
        assert client.post("/", content=b"x" * 11).status_code == 413
        assert client.post("/", content=iter([b"x" * 6] * 2)).status_code == 413

    def test_a_body_that_a_route_reads_as_json_is_limited_too(self, local_parts):
        client = TestClient(create_app(local_parts), base_url=HOST)
        answer = client.post("/session", content=b" " * (MAX_BODY_BYTES + 1))
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert answer.headers["content-type"] == MEDIA_TYPE

    def test_a_slow_body_is_named_as_the_reason(self, local_parts):
        async def endless(scope, receive, send):
            async def never():
                await asyncio.sleep(30)

            await app(scope, never, send)

        app = BodyLimits(create_app(local_parts), seconds=0.05)
        answer = TestClient(endless, base_url=HOST).post("/session", content=b"{}")
        assert answer.status_code == 408
        assert BODY_SECONDS < ANSWER_SECONDS

    def test_a_route_that_hangs_is_answered_for(self):
        async def hang(request: Request) -> Response:
            await asyncio.sleep(3)
            return Response("late")

        app = Starlette(routes=[Route("/", hang)], middleware=[Middleware(AnswerTime, seconds=0.05)])
        began = time.monotonic()
        answer = TestClient(app).get("/")
        assert (answer.status_code, answer.json()["reason"]) == (503, "timeout")
        assert time.monotonic() - began < 2.5

    def test_a_callers_requests_are_limited(self, local_parts):
        parts = replace(local_parts, limits=RateLimits(a_minute=2))
        client = TestClient(create_app(parts), base_url="http://localhost")
        assert [client.get("/session").status_code for _ in range(3)] == [200, 200, 429]
        assert int(client.get("/session").headers["retry-after"]) >= 1

    def test_wrong_tokens_are_limited_too(self, parts):
        parts = replace(parts, limits=RateLimits(refused_a_minute=2))
        client = TestClient(create_app(parts), headers={"authorization": "Bearer x.y.z"})
        assert [client.get("/session").status_code for _ in range(3)] == [401, 401, 429]


class TestAnswers:
    def test_every_answer_has_an_id_and_the_headers(self, operator):
        for path in ("/livez", "/docs", "/videos", "/videos/x", "/nowhere"):
            headers = operator.get(path, headers={"x-request-id": "proxy-12345"}).headers
            assert headers["x-request-id"] == "proxy-12345"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            policy = headers["content-security-policy"]
            assert (
                "script-src 'self';" in policy
                and "unsafe" not in policy
                and "frame-ancestors 'none'" in policy
            )

    def test_what_nobody_expected_has_them_too(self, local_parts, monkeypatch, caplog):
        def broken():
            raise ZeroDivisionError

        monkeypatch.setattr(local_parts.catalog, "list_access_tiers", broken)
        client = TestClient(create_app(local_parts), base_url=HOST)
        answer = client.get("/healthz", headers={"x-request-id": "proxy-12345"})
        assert (answer.status_code, answer.json()["request_id"]) == (500, "proxy-12345")
        assert answer.headers["x-request-id"] == "proxy-12345" and "ZeroDivisionError" in caplog.text
        assert answer.headers["content-security-policy"]

    @pytest.mark.parametrize("given", ["x", "a b c d e f g", "x" * 65, "<script>alert"])
    def test_an_id_that_would_garble_a_log_is_replaced(self, given):
        answer = guarded(Middleware(RequestIds)).get("/", headers={"x-request-id": given})
        assert answer.headers["x-request-id"] != given

    def test_unknown_routes_and_methods_are_problems(self, operator):
        for answer, status in ((operator.get("/nowhere"), 404), (operator.post("/livez"), 405)):
            assert (answer.status_code, answer.json()["status"]) == (status, status)


class TestTokens:
    def token(self, secret: str = SECRET, algorithm: str = "HS256", **changes) -> str:
        claims = {"role": "authenticated", "sub": OWNER, "exp": 4102444800} | changes
        return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, algorithm)

    def test_a_projects_token_is_taken(self):
        token = Tokens(secret=SECRET).verify(self.token())
        assert (token.user_id, token.role) == (OWNER, "authenticated")
        assert SECRET not in repr(token) and token.text not in repr(token)

    @pytest.mark.parametrize(
        "changes",
        [
            {"exp": 1},
            {"exp": None},
            {"role": None},
            {"role": "anon"},
            {"role": "postgres"},
            {"sub": None},
            {"sub": "ann"},
            {"secret": "x" * 40},
            {"algorithm": "HS512"},
        ],
        ids=str,
    )
    def test_any_other_token_is_refused(self, changes):
        with pytest.raises(TokenError):
            Tokens(secret=SECRET).verify(self.token(**changes))

    @pytest.mark.parametrize("text", ["", "x", "a.b.c", "é.é.é", "eyJhbGciOiJub25lIn0.e30."])
    def test_what_is_no_token_is_refused(self, text):
        with pytest.raises(TokenError):
            Tokens(secret=SECRET).verify(text)

    def test_a_short_secret_is_refused(self):
        with pytest.raises(SettingsError, match="SUPABASE_JWT_SECRET"):
            Tokens(secret="short")

    def test_a_token_that_is_signed_with_a_public_key(self):
        private = ec.generate_private_key(ec.SECP256R1())
        public = private.public_key()
        entry = {**json.loads(ECAlgorithm.to_jwk(public)), "kid": "1", "alg": "ES256", "use": "sig"}
        claims = {"role": "authenticated", "sub": OWNER, "exp": 4102444800}
        token = jwt.encode(claims, private, "ES256", {"kid": "1"})
        with served(json.dumps({"keys": [entry]})) as url:
            tokens = Tokens(secret=SECRET, jwks_url=url)
            assert tokens.verify(token).user_id == tokens.verify(self.token()).user_id == OWNER
            other = ec.generate_private_key(ec.SECP256R1())
            for forged in (
                jwt.encode(claims, other, "ES256", {"kid": "1"}),
                jwt.encode(claims, other, "ES256", {"kid": "2"}),
            ):
                with pytest.raises(TokenError):
                    tokens.verify(forged)
            with pytest.raises(TokenError, match="a way that"):
                Tokens(jwks_url=url).verify(self.token())
        with pytest.raises(KeysUnavailableError):
            Tokens(jwks_url=url).verify(token)

    def test_the_cookie_of_a_session(self, parts, people):
        client = TestClient(create_app(parts), base_url="https://api.test")
        assert client.get("/session").status_code == 401
        token = make_key("authenticated", people.owner)
        answer = client.post("/session", json={"token": token}, headers={"origin": "https://api.test"})
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 204
        assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=strict", "Path=/"))
        assert client.get("/session").json()["user_id"] == people.owner
        assert client.delete("/session", headers={"origin": "https://api.test"}).status_code == 204
        assert client.get("/session").status_code == 401
        wrong = client.post("/session", json={"token": "x.y.z"}, headers={"origin": "https://api.test"})
        assert wrong.status_code == 401


class TestExposure:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
    def test_beyond_this_machine_it_needs_a_login(self, host):
        with pytest.raises(SettingsError, match="on this machine only"):
            check_exposure(Settings(_env_file=None), host)
        check_exposure(Settings(_env_file=None, SUPABASE_JWT_SECRET=SECRET), host)
        check_exposure(Settings(_env_file=None, SUPABASE_URL="https://x.supabase.co"), host)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
    def test_on_this_machine_it_needs_none(self, host):
        check_exposure(Settings(_env_file=None), host)
        assert is_loopback(host)

    def test_the_platforms_service_stays_on_this_machine_without_a_login(self):
        assert host_of_platform(Settings(_env_file=None, CAPTIONACC_HOST="0.0.0.0")) == "127.0.0.1"
        shared = Settings(_env_file=None, CAPTIONACC_HOST="0.0.0.0", SUPABASE_JWT_SECRET=SECRET)
        assert host_of_platform(shared) == "0.0.0.0"
