"""The OpenAPI document against the service: no request that it allows, or forbids, answers 500.

On both transports of the catalogue, for this machine's operator and for a user with a JWT.
"""

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from benchmarks.synthetic_video import SyntheticFiles, captions
from captionacc_dagster.web.service import callers
from captionacc_dagster.web.service.app import create_app
from modal_gpu.keys import VideoKeys
from tests.postgrest.server import make_key
from tests.web.service.conftest import People

#: A stream has no end.
ENDLESS = "/events"
#: The video of the other requests must stay.
DELETED = ("DELETE", "/videos/{video_id}")
#: Operations without anything that could be wrong.
UNSPOILT = 5


@pytest.fixture
def caller(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def service(caller: str, people: People, request: pytest.FixtureRequest) -> tuple[FastAPI, dict[str, str]]:
    """The app, and the headers of the caller's requests."""
    callers._profiles._known.clear()
    if caller == "operator":
        return create_app(request.getfixturevalue("local_parts")), {"host": "localhost"}
    token = make_key("authenticated", people.owner)
    return create_app(request.getfixturevalue("parts")), {
        "host": "localhost",
        "authorization": f"Bearer {token}",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("caller", "catalog"),
    [
        ("operator", "postgres"),
        ("user", "postgres"),
        ("user", "supabase"),
    ],
    indirect=True,
)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_is_answered_with_500(service, people: People, mode: GenerationMode):
    app, headers = service
    video = people.with_captions()
    SyntheticFiles.made(shown=captions(4)).put(people.store, VideoKeys(video.tenant_id, video.video_id))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=headers)
    tried, offered = set(), set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == ENDLESS:
            continue
        offered.add((operation.method.upper(), operation.path))

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=5, suppress_health_check=list(HealthCheck), database=None, deadline=None)
        def answers(case):
            if "video_id" in (case.path_parameters or {}) and (case.method, case.path) != DELETED:
                # An id at random is never found: what comes after that is reached with a video's own.
                case.path_parameters["video_id"] = video.video_id
            answer = case.call(headers=headers)
            tried.add((case.method, case.path))
            assert answer.status_code < 500, (case.method, case.path, answer.text)

        try:
            answers()
        except Unsatisfiable:
            continue  # Nothing about the operation can be wrong, or right.
    assert len(offered - tried) <= UNSPOILT
