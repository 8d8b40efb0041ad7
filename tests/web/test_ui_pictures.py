"""Pictures at Dagster's own web server: the real server on a real instance, in this process."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import dagster_webserver.webserver
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.testclient import TestClient

from captionacc_dagster.assets.pictures.links import Gallery
from captionacc_dagster.platform.dagster_home import prepare_dagster_home
from captionacc_dagster.settings import Settings, get_settings
from captionacc_dagster.web import pictures
from captionacc_dagster.web.instance import PlatformInstance
from modal_gpu.errors import StorageError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

KEYS = VideoKeys("00000000-0000-4000-8000-00000000cacc", "edc31d52-0bd1-4c05-8113-97c434447e12")
PICTURE = b"\xff\xd8 a picture"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    # prepare_dagster_home sets it.
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    get_settings.cache_clear()
    pictures._object_store.cache_clear()
    yield get_settings()
    get_settings.cache_clear()
    pictures._object_store.cache_clear()


@pytest.fixture
def instance(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    prepare_dagster_home(settings)
    server = dagster_webserver.webserver.DagsterWebserver
    # Restores it: the instance wraps it for the rest of the process.
    monkeypatch.setattr(server, "build_routes", server.build_routes)
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(1000, 60, 5)
        yield instance


@pytest.fixture
def browser(
    instance: dg.DagsterInstance, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[TestClient]:
    with WorkspaceProcessContext(instance, workspace_load_target=None) as context:
        app = create_app_from_workspace_process_context(context, getattr(request, "param", ""))
        yield TestClient(app, raise_server_exceptions=False)


def linked(settings: Settings) -> str:
    """Store the picture and return its address."""
    store = ObjectStore.from_url(settings.effective_storage_url)
    markdown = Gallery(store, KEYS).show("poster", "a frame", lambda: PICTURE)["poster"].value
    return markdown.partition("(")[2].removesuffix(")")


def test_the_homes_instance_is_the_platforms(instance: dg.DagsterInstance):
    assert isinstance(instance, PlatformInstance)
    assert dg.DagsterInstance.from_ref(instance.get_ref()).__class__ is PlatformInstance


@pytest.mark.parametrize("browser", ["", "/dagster"], indirect=True)
def test_a_linked_picture_is_shown_and_the_ui_still_is(browser: TestClient, settings: Settings):
    answer = browser.get(linked(settings))
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in answer.headers["cache-control"]
    assert browser.get("/", follow_redirects=True).headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("browser", ["/dagster"], indirect=True)
def test_a_proxy_that_only_forwards_the_prefix_finds_it_too(browser: TestClient, settings: Settings):
    assert browser.get(f"/dagster{linked(settings)}").content == PICTURE


@pytest.mark.parametrize(
    "path",
    [
        f"{KEYS.tenant_id}/{KEYS.video_id}/poster-0123456789ab.jpg",
        f"{KEYS.tenant_id}/{KEYS.video_id}/raw-ocr.db.gz",
        f"{KEYS.tenant_id}/{KEYS.video_id}/..%2Fraw-ocr.db.gz",
        f"{KEYS.tenant_id}/{KEYS.video_id}/%2e%2e%2fraw-ocr.db.gz",
        f"{KEYS.tenant_id}/not-a-uuid/poster-0123456789ab.jpg",
        f"..%2f..%2fetc/{KEYS.video_id}/poster-0123456789ab.jpg",
        f"{KEYS.tenant_id}/{KEYS.video_id}/poster-0123456789ab.jpg%00",
        f"{KEYS.tenant_id}/{KEYS.video_id}/poster-0123456789ab.jpg%0a",
    ],
)
def test_nothing_but_pictures_is_read(browser: TestClient, settings: Settings, path: str):
    store = ObjectStore.from_url(settings.effective_storage_url)
    store.put(KEYS.raw_ocr_db, b"not for browsers")
    answer = browser.get(f"/captionacc/pictures/{path}")
    assert answer.content != b"not for browsers"
    # What is no path of a picture is a page of the UI.
    assert answer.status_code == 404 or answer.headers["content-type"].startswith("text/html")


def test_while_the_bucket_is_away_the_answer_says_so(
    browser: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    path = linked(settings)

    def away(*_: object) -> bytes:
        raise StorageError("the bucket does not answer")

    monkeypatch.setattr(ObjectStore, "get", away)
    answer = browser.get(path)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_other_processes_do_not_load_the_web_server(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    prepare_dagster_home(settings)
    monkeypatch.delitem(sys.modules, "dagster_webserver.webserver")
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(1000, 60, 5)
    assert "dagster_webserver.webserver" not in sys.modules
