"""The service over both transports of the catalogue, and its callers."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from starlette.testclient import TestClient

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.settings import Settings
from captionacc_dagster.web.service import callers
from captionacc_dagster.web.service.app import create_app
from captionacc_dagster.web.service.parts import ServiceParts
from captionacc_dagster.web.service.tokens import Tokens
from captionacc_dagster.web.starter import Started
from modal_gpu.databases.captions import Caption, write_captions
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore
from tests.full_catalog import FullCatalog
from tests.postgrest.server import SECRET, make_key
from tests.resources.catalog.conftest import (  # noqa: F401
    Videos,
    make_outcome,
    postgres_catalog,
    postgrest,
    supabase_catalog,
    world,
)
from tests.resources.catalog.world import TENANT

NOBODY = "11111111-1111-4111-8111-111111111111"
#: A name of this machine, which the service asks for where nobody signs in.
HOST = "http://localhost"


class Starts:
    """A starter that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def start_layout(self, video_id: str) -> Started:
        self.asked.append(("layout", video_id))
        return Started("started", "run-of-layout", 55)

    def start_captions(self, video_id: str) -> Started:
        self.asked.append(("boundaries", video_id))
        return Started("started", "run-of-captions", 65)


@pytest.fixture(params=["postgres", "supabase"])
def catalog(request: pytest.FixtureRequest) -> FullCatalog:
    """The contract holds on both transports."""
    return request.getfixturevalue(f"{request.param}_catalog")


@pytest.fixture
def videos(catalog: FullCatalog, tenant, make_outcome) -> Videos:  # noqa: F811
    return Videos(catalog, tenant, make_outcome)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.from_url((tmp_path / "bucket").as_uri())


@pytest.fixture
def starts() -> Starts:
    return Starts()


@pytest.fixture
def local_parts(catalog: FullCatalog, store: ObjectStore, starts: Starts, tmp_path: Path) -> ServiceParts:
    """The service of one machine, where nobody signs in."""
    settings = Settings(_env_file=None, CAPTIONACC_HOME=str(tmp_path))
    return ServiceParts(settings, catalog, store, starter=starts)


@pytest.fixture
def parts(local_parts: ServiceParts) -> ServiceParts:
    """The service of a project, where users sign in."""
    return replace(local_parts, tokens=Tokens(secret=SECRET))


@pytest.fixture
def operator(local_parts: ServiceParts) -> TestClient:
    """This machine's operator."""
    return TestClient(create_app(local_parts), base_url=HOST)


@pytest.fixture
def as_user(parts: ServiceParts) -> Iterator[Callable[[str | None], TestClient]]:
    """A client with a user's token; without one for ``None``."""
    callers._profiles._known.clear()
    app = create_app(parts)

    def client(user: str | None, role: str = "authenticated") -> TestClient:
        headers = (
            {"authorization": f"Bearer {make_key(role, user)}"} if user or role != "authenticated" else {}
        )
        return TestClient(app, headers=headers, base_url="http://api.test")

    yield client
    callers._profiles._known.clear()


@dataclass
class People:
    """A tenant's owner and their videos."""

    catalog: FullCatalog
    videos: Videos
    database: psycopg.Connection
    store: ObjectStore
    owner: str = str(uuid.UUID(int=3))

    def __post_init__(self) -> None:
        self.catalog.ensure_tenant(TENANT, "tenant")
        self.catalog.set_user_profile(self.owner, TENANT, role="owner", approval_status="approved")
        self.videos.tenant = self.catalog.get_tenant(TENANT)

    def own(self, video: VideoRow) -> VideoRow:
        """Return a video that the owner has uploaded."""
        self.database.execute(
            "update captionacc.videos set uploaded_by_user_id = %s where id = %s",
            [self.owner, video.video_id],
        )
        return video

    def with_captions(self) -> VideoRow:
        """Return a video with two captions in the bucket."""
        video = self.own(self.videos.with_captions())
        captions = [Caption(10 * n, 10 * n + 5, n, n + 0.5, id=n, ocr_text=f"text {n}") for n in (1, 2)]
        key = VideoKeys(video.tenant_id, video.video_id).captions_db
        self.store.put(key, write_captions(captions), "application/gzip")
        return video


@pytest.fixture
def people(catalog, videos, database, store) -> People:
    return People(catalog, videos, database, store)


@pytest.fixture(params=["operator", "user"])
def client(request: pytest.FixtureRequest, people: People, operator, as_user) -> TestClient:
    """The same answers for this machine's operator and for a user with rights."""
    return operator if request.param == "operator" else as_user(people.owner)
