"""The recipes of docs/reference/api.md, run with curl against a server on this machine: one a route."""

import logging
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.synthetic_video import SyntheticFiles, captions
from captionacc_dagster.platform.ports import free_port
from captionacc_dagster.web.service.app import create_app
from captionacc_dagster.web.service.parts import ServiceParts
from captionacc_dagster.web.service.serving import ServiceThread
from captionacc_dagster.web.service.tokens import Tokens
from captionacc_dagster.web.webhook import Webhook
from modal_gpu.keys import VideoKeys
from tests.postgrest.server import SECRET as JWT_SECRET
from tests.postgrest.server import make_key

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "reference" / "api.md"
SECRET = "a secret of the recipes"
REQUEST = re.compile(r"(?P<method>[A-Z]+) (?P<path>/\S*) (?P<status>\d{3}) ")


@pytest.fixture
def catalog(postgres_catalog):
    """One transport: the contract is tested elsewhere."""
    return postgres_catalog


@pytest.fixture
def asked() -> Iterator[list[tuple[str, str, int]]]:
    """The requests that the service answers: method, path, status."""
    found: list[tuple[str, str, int]] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if request := REQUEST.match(record.getMessage()):
                found.append((request["method"], request["path"], int(request["status"])))

    log, handler = logging.getLogger("captionacc_dagster.web.requests"), Notes()
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield found
    log.removeHandler(handler)
    log.setLevel(level)


def recipes() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def variables_of(people, parts: ServiceParts, file: Path) -> dict[str, str]:
    """What the recipes take for granted: a file, a video with a layout, one with captions."""
    laid_out, captioned = people.videos.laid_out(), people.with_captions()
    files = SyntheticFiles.made(shown=captions(4))
    files.put(parts.object_store, VideoKeys(laid_out.tenant_id, laid_out.video_id), ["full", "layout", "raw"])
    files.put(parts.object_store, VideoKeys(captioned.tenant_id, captioned.video_id))
    return {
        "FILE": str(file),
        "TENANT": str(parts.settings.tenant_id),
        "LAID_OUT": laid_out.video_id,
        "CAPTIONED": captioned.video_id,
        "CAPTIONACC_WEBHOOK_SECRET": SECRET,
        "TOKEN": make_key("authenticated", people.owner),
    }


def run(parts: ServiceParts, lines: list[str], variables: dict[str, str], folder: Path) -> str:
    """Run shell lines against a service; return what they print."""
    port = free_port("127.0.0.1")
    service = ServiceThread(parts, "127.0.0.1", port)
    service.begin()
    try:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", "\n".join(lines)],
            env={"PATH": os.environ["PATH"], "API": f"http://127.0.0.1:{port}", **variables},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        service.end()
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.system("curl", "jq")
def test_every_route_has_a_recipe_that_works(local_parts, people, starts, tmp_path, asked):
    file = tmp_path / "talk.mp4"
    file.write_bytes(b"not a video, but of its size")
    parts = replace(local_parts, webhook=Webhook(starts, secret=SECRET))
    people.catalog.ensure_tenant(str(parts.settings.tenant_id), "local")
    variables = variables_of(people, parts, file)
    with_login = [each for each in recipes() if "$TOKEN" in each]
    others = [each for each in recipes() if "$TOKEN" not in each]
    assert len(with_login) == 1 and len(others) >= 10
    printed = run(parts, others, variables, tmp_path)
    assert "event: ready" in printed and '"status":"accepted"' in printed
    run(replace(parts, tokens=Tokens(secret=JWT_SECRET)), with_login, variables, tmp_path)
    assert {status for _, _, status in asked} <= {200, 201, 202, 204}
    routes = documented(parts)
    used = {route_of(method, path, routes) for method, path, _ in asked}
    assert set(routes) - used == set()


def route_of(
    method: str, path: str, routes: dict[tuple[str, str], re.Pattern[str]]
) -> tuple[str, str] | None:
    """The operation that a request is one of: the one with the fewest parameters."""
    found = [name for name, pattern in routes.items() if name[0] == method and pattern.fullmatch(path)]
    return min(found, key=lambda name: name[1].count("{"), default=None)


def documented(parts: ServiceParts) -> dict[tuple[str, str], re.Pattern[str]]:
    """The operations of the OpenAPI document, each with what matches its path."""
    paths = create_app(parts).openapi()["paths"]
    return {
        (method.upper(), path): re.compile(re.sub(r"\{\w+\}", "[^/]+", path.replace(".", r"\.")))
        for path, operations in paths.items()
        for method in operations
    }


@pytest.mark.system("curl")
def test_the_checks_of_the_services_answer_as_their_page_says(local_parts, people, starts, tmp_path):
    """docs/how-to/verification.md: the table of the services, and the webhook's smoke test."""
    page = (DOCS / "how-to" / "verification.md").read_text("utf-8")
    checks = re.findall(r"^\| `(curl [^|]+)` \| `(.+)` \|$", page, re.MULTILINE)
    checks += re.findall(r"^```sh\n(curl .*?)\n```\n\n```text\n(.*?)\n```", page, re.MULTILINE | re.DOTALL)
    assert len(checks) >= 8
    video = people.videos.laid_out()
    variables = {
        "VIDEO": video.video_id,
        "TENANT": video.tenant_id,
        "CAPTIONACC_WEBHOOK_SECRET": SECRET,
    }
    parts = replace(local_parts, webhook=Webhook(starts, secret=SECRET))
    lines = [line for command, _ in checks for line in (command, "echo", "echo =====")]
    answers = run(parts, lines, variables, tmp_path).split("=====\n")
    for (command, expected), answer in zip(checks, answers, strict=False):
        pattern = re.escape(expected).replace("…", ".+")
        assert re.fullmatch(pattern, answer.strip()), (command, answer)
