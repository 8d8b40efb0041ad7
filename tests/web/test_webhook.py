"""Contract: the webhook's authentication, its payloads and its rate limits."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from captionacc_dagster.settings import SettingsError
from captionacc_dagster.web.rate_limit import RateLimit
from captionacc_dagster.web.starter import Started
from captionacc_dagster.web.webhook import MAX_BODY_BYTES, create_app
from tests.web.conftest import NOBODY, PATH, SECRET, USUAL, post


def raw(**changes) -> bytes:
    """Encode a payload as JSON in ASCII, so that it can contain what no text can."""
    return json.dumps({**USUAL, **changes}).encode("ascii")


#: With lone surrogates, NUL, huge numbers, NaN.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


class TestDoor:
    @pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", "ä"])
    def test_without_the_secret_every_request_is_refused(self, client, secret):
        headers = {} if secret is None else {"authorization": f"Bearer {secret}".encode()}
        answer = client.post(PATH, json=USUAL, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")

    @pytest.mark.parametrize("secret", ["", " ", "\t\n", " abc", "abc ", "a\nb", "a\0b", "\u2003"])
    def test_a_secret_that_cannot_be_sent_is_refused_at_startup(self, starter, secret):
        """Otherwise the server would refuse every request."""
        with pytest.raises(SettingsError, match="CAPTIONACC_WEBHOOK_SECRET"):
            create_app(starter, secret=secret)

    @pytest.mark.parametrize("secret", ["a b", "Schlüssel", "密", "=" * 500])
    def test_any_other_secret_can_be_sent(self, starter, secret):
        client = TestClient(create_app(starter, secret=secret))
        headers = {"authorization": f"Bearer {secret}".encode()}
        assert client.post(PATH, json={**USUAL, "type": "DELETE"}, headers=headers).status_code == 200

    def test_another_scheme_is_not_accepted(self, client):
        answer = client.post(PATH, json=USUAL, headers={"authorization": f"Basic {SECRET}"})
        assert answer.status_code == 401

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"type": "UPDATE"}, "UPDATE is not INSERT"),
            ({"type": "DELETE", "record": None}, "DELETE is not INSERT"),
            ({"table": "tenants"}, "table tenants is not videos"),
            ({"schema": "public"}, "schema is not captionacc"),
        ],
    )
    def test_a_request_without_a_new_video_is_ignored(self, client, changes, reason):
        answer = post(client, {**USUAL, **changes})
        ignored = {"success": True, "status": "ignored", "message": reason, "reason": reason}
        assert (answer.status_code, answer.json()) == (200, ignored)

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not JSON"),
            (b"{", "not JSON"),
            (b"\xff\xfe", "not JSON"),
            (b"[" * 20_000, "nested too deeply"),
            (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deeply"),
            (b"[]", "not a JSON object"),
            ({"table": "videos"}, "type is missing"),
            ({"type": "INSERT"}, "table is missing"),
            ({"type": 1, "table": "videos"}, "type is missing"),
            ({**USUAL, "schema": ["captionacc"]}, "schema is missing"),
            (raw(type="\ud800"), "type is not plain text"),
            (raw(table="videos\udfff"), "table is not plain text"),
            (raw(schema="\ud800"), "schema is not plain text"),
            (raw(type="INSERT\0"), "type is not plain text"),
            (raw(table="a\nb"), "table is not plain text"),
            (raw(record={"id": "\ud800", "tenant_id": NOBODY}), "record.id '\\ud800' is not a UUID"),
            (raw(record={"id": NOBODY, "tenant_id": "\0"}), "record.tenant_id '\\x00' is not a UUID"),
            (raw(record={"id": {"a": 1}, "tenant_id": NOBODY}), "is not a UUID"),
            (raw(record={"id": 10**400, "tenant_id": NOBODY}), "is not a UUID"),
            (b'{"type":' + b"1" * 5000 + b"}", "not JSON"),
            ({**USUAL, "record": None}, "record is missing"),
            ({**USUAL, "record": {}}, "record.tenant_id"),
            ({**USUAL, "record": {"id": "../x", "tenant_id": NOBODY}}, "record.id '../x' is not a UUID"),
            (USUAL, "is not in the catalogue"),
        ],
    )
    def test_an_invalid_request_is_refused_with_the_reason(self, client, body, reason):
        answer = post(client, body)
        assert answer.status_code == 400, answer.text
        assert reason in answer.json()["reason"]

    @settings(max_examples=25)
    @given(json_values)
    def test_any_body_is_at_most_a_refusal(self, value):
        """Any JSON value, anywhere in a payload or instead of one."""

        class Nobody:
            def start_layout(self, video_id: str) -> Started:
                return Started("nothing to do")

        client = TestClient(create_app(Nobody(), secret=SECRET, requests_a_minute=10**9))
        bodies = [value, *({**USUAL, name: value} for name in ("type", "table", "schema", "record"))]
        bodies += [{**USUAL, "record": {**USUAL["record"], name: value}} for name in ("id", "tenant_id")]
        for body in bodies:
            answer = post(client, json.dumps(body).encode("ascii"))
            assert answer.status_code in (200, 202, 400), answer.text
            assert "\n" not in answer.json().get("reason", "")

    def test_a_large_body_is_not_read_to_its_end(self, client):
        assert post(client, b" " * (MAX_BODY_BYTES + 1)).status_code == 413

    def test_many_calls_of_one_client_are_rate_limited(self, starter):
        now = [0.0]
        app = create_app(starter, secret=SECRET, requests_a_minute=3, clock=lambda: now[0])
        client = TestClient(app)
        ignored = {**USUAL, "type": "DELETE"}
        assert [post(client, ignored).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert post(client, ignored).headers["retry-after"] == "21"
        now[0] += 21
        assert post(client, ignored).status_code == 200

    def test_wrong_secrets_have_a_rate_limit_of_their_own(self, starter):
        client = TestClient(create_app(starter, secret=SECRET, requests_a_minute=3, clock=lambda: 0.0))
        ignored = {**USUAL, "type": "DELETE"}
        guesses = [post(client, ignored, f"guess {number}").status_code for number in range(6)]
        assert guesses == [401, 401, 401, 429, 429, 429]
        assert [post(client, ignored).status_code for _ in range(4)] == [200, 200, 200, 429]

    def test_the_limits_memory_is_bounded(self):
        limit = RateLimit(1)
        for number in range(3000):
            limit.wait_seconds(str(number))
        assert len(limit._buckets) == 1024

    def test_health_needs_no_secret_and_allows_no_other_method(self, client):
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get(PATH).status_code == 405
