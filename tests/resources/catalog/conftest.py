"""Videos in each state, made by the catalogue's own calls."""

import uuid
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest

from captionacc_dagster.resources.catalog import Catalog, LayoutOutcome, TenantRow, VideoRow
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.supabase import SupabaseTransport
from modal_gpu.contracts import CropRegion
from tests.catalog_fixtures import MIGRATED
from tests.full_catalog import FullCatalog, connected
from tests.postgrest.server import PostgrestServer, make_key
from tests.resources.catalog.world import World

STRIP = CropRegion(0.1, 0.8, 0.9, 0.95)
OTHER_STRIP = CropRegion(0.0, 0.7, 1.0, 1.0)
NOBODY = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(scope="session")
def postgrest(postgres_server: EmbeddedPostgres) -> Iterator[PostgrestServer]:
    """Supabase's API over the session's database."""
    with PostgrestServer(postgres_server.dsn(MIGRATED)).running() as server:
        yield server


@pytest.fixture
def supabase_catalog(postgrest: PostgrestServer, postgres_dsn: str) -> Iterator[FullCatalog]:
    transport = SupabaseTransport(postgrest.url, make_key("service_role"), retry_pause_seconds=0.01)
    catalog = FullCatalog(transport)
    yield catalog
    catalog.close()


@pytest.fixture
def postgres_catalog(postgres_dsn: str) -> Iterator[FullCatalog]:
    catalog = connected(postgres_dsn, max_connections=16)
    yield catalog
    catalog.close()


@pytest.fixture(params=["postgres", "supabase"])
def catalog(request: pytest.FixtureRequest) -> Catalog:
    """The contract holds on both transports."""
    return request.getfixturevalue(f"{request.param}_catalog")


@pytest.fixture
def make_outcome() -> Callable[..., LayoutOutcome]:
    def make(**overrides) -> LayoutOutcome:
        usual = {
            "duration_seconds": 8.0,
            "width": 640,
            "height": 360,
            "video_codec": "h264",
            "frame_count": 80,
            "layout_found": True,
            "layout_confidence": 0.9,
            "crop_region": STRIP,
        }
        return LayoutOutcome(**{**usual, **overrides})

    return make


class Videos:
    """Each method brings a new video one stage further than the one before."""

    def __init__(self, catalog: Catalog, tenant: TenantRow, outcome: Callable[..., LayoutOutcome]):
        self.catalog, self.tenant, self.outcome = catalog, tenant, outcome

    def uploaded(self, **overrides) -> VideoRow:
        video_id = str(uuid.uuid4())
        tenant_id = self.tenant.tenant_id
        usual = {
            "storage_key": f"{tenant_id}/client/videos/{video_id}/video.mp4",
            "size_bytes": 1000,
            "display_path": "holiday.mp4",
        }
        return self.catalog.register_video(tenant_id, video_id, **{**usual, **overrides})

    def laid_out(self, **overrides) -> VideoRow:
        video_id = self.uploaded().video_id
        self.catalog.begin_stage(video_id, "layout", "layout-run")
        return self.catalog.finish_layout(video_id, "layout-run", self.outcome(**overrides))

    def approved(self) -> VideoRow:
        return self.catalog.approve_layout(self.laid_out().video_id, "ann")

    def cropping(self) -> VideoRow:
        """A video whose boundaries were begun by ``crop-run``."""
        return self.catalog.begin_stage(self.approved().video_id, "boundaries", "crop-run")

    def with_captions(self) -> VideoRow:
        video_id = self.cropping().video_id
        version = self.catalog.allot_cropped_frames_version(video_id, "crop-run", STRIP)
        self.catalog.activate_cropped_frames_version(
            video_id, version, chunk_count=3, total_frames=80, total_size_bytes=5000
        )
        return self.catalog.finish_boundaries(video_id, "crop-run", version=version, caption_count=4)

    def read(self) -> VideoRow:
        video_id = self.with_captions().video_id
        self.catalog.begin_stage(video_id, "text", "crop-run")
        return self.catalog.finish_text(video_id, "crop-run", caption_count=4)


@pytest.fixture
def videos(catalog: Catalog, tenant: TenantRow, make_outcome) -> Videos:
    return Videos(catalog, tenant, make_outcome)


@pytest.fixture
def world(catalog: FullCatalog, videos: Videos, database: psycopg.Connection) -> Iterator[World]:
    yield World(catalog, videos, database)


@pytest.fixture
def act(postgrest: PostgrestServer) -> Iterator[Callable[..., httpx.Response]]:
    """Calls an action with a user's token, as supabase-js does."""
    with httpx.Client(base_url=f"{postgrest.url}/rest/v1", timeout=30) as client:

        def call(user: str | None, action: str, **arguments) -> httpx.Response:
            token = make_key("authenticated", user) if user else make_key("anon")
            headers = {
                "apikey": make_key("anon"),
                "authorization": f"Bearer {token}",
                "content-profile": "captionacc",
            }
            named = {f"p_{name}": value for name, value in arguments.items()}
            return client.post(f"/rpc/app_{action}", json=named, headers=headers)

        yield call
