"""A webhook on the catalogue and on Dagster's own storage, and calls of it."""

from collections.abc import Callable, Iterator

import dagster as dg
import pytest
from starlette.testclient import TestClient

from captionacc_dagster.web.starter import RunStarter
from captionacc_dagster.web.webhook import create_app
from tests.line_fixtures import Line

SECRET = "a secret of the tests"
PATH = "/webhooks/supabase/videos"


class Submits:
    """A stand-in for Dagster's queue: the run is in the instance and launched, or ``error`` is raised."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.made, self.error = instance, [], None

    def __call__(self, job: str, run_id: str, tags: dict[str, str]) -> None:
        if self.error:
            raise self.error
        status = dg.DagsterRunStatus.STARTING
        self.instance.add_run(dg.DagsterRun(job_name=job, run_id=run_id, tags=tags, status=status))
        self.made.append((job, tags))


@pytest.fixture
def launches(line: Line) -> Submits:
    return Submits(line.instance)


@pytest.fixture
def starter(line: Line, launches: Submits) -> Iterator[RunStarter]:
    starter = RunStarter(line.catalog, line.store, line.instance, launches)
    yield starter
    starter.close()


@pytest.fixture
def client(starter: RunStarter) -> TestClient:
    return TestClient(create_app(starter, secret=SECRET))


@pytest.fixture
def tick(line: Line) -> Callable[[dg.SensorDefinition], dg.SensorResult]:
    """Evaluate a sensor once, and apply its result as the daemon does."""
    return line.tick


def payload(video_id: str, tenant_id: str, **changes) -> dict:
    """Build the payload that Supabase sends."""
    record = {"id": video_id, "tenant_id": tenant_id, "display_path": "a.mp4"}
    usual = {
        "type": "INSERT",
        "table": "videos",
        "schema": "captionacc",
        "record": record,
        "old_record": None,
    }
    return {**usual, **changes}


def post(client: TestClient, body, secret: str | None = SECRET):
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    if isinstance(body, dict):
        return client.post(PATH, json=body, headers=headers)
    return client.post(PATH, content=body, headers=headers)


NOBODY = "11111111-1111-4111-8111-111111111111"
USUAL = payload(NOBODY, NOBODY)
