"""Uploads to a bucket: the presigned URL binds size and type, and the confirmation looks at the object."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from starlette.testclient import TestClient

from captionacc_dagster.resources.upload_urls import upload_url
from captionacc_dagster.web.service.app import create_app
from modal_gpu.storage import ObjectStore
from tests.s3_signatures import checking_server
from tests.storage_fixtures import SECRET_KEY, S3Server
from tests.web.service.conftest import HOST, People
from tests.web.service.test_routes import is_problem

FILE = b"not a video, but of its size"


@pytest.fixture
def catalog(postgres_catalog):
    """One transport: what is looked at is the bucket."""
    return postgres_catalog


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[ObjectStore]:
    """A bucket whose server checks signatures."""
    settings = s3_server.make_settings(prefix="videos of tests")
    with checking_server(s3_server.endpoint, SECRET_KEY) as address:
        yield ObjectStore(replace(settings, endpoint=address))


@pytest.fixture
def client(local_parts, people: People, bucket: ObjectStore, s3_server: S3Server) -> TestClient:
    """The operator, with the bucket in the place of the folder."""
    tenant = str(local_parts.settings.tenant_id)
    people.catalog.ensure_tenant(tenant, "local")
    return TestClient(create_app(replace(local_parts, object_store=bucket)), base_url=HOST)


def register(client: TestClient, **changes: object) -> dict:
    asked = {"name": "a b.mp4", "size": len(FILE), "type": "video/mp4"} | changes
    answer = client.post("/videos", json=asked)
    assert answer.status_code == 201, answer.text
    return answer.json()


def send(target: dict, content: bytes, **headers: str) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        return client.put(target["url"], content=content, headers=target["headers"] | headers)


def stored(people: People, registered: dict, bucket: ObjectStore) -> int | None:
    key = people.catalog.get_video(registered["video_id"]).storage_key
    return bucket.head(key).size if bucket.exists(key) else None


def test_a_registered_file_is_sent_and_confirmed(client, people, bucket):
    registered = register(client)
    target = registered["upload"]
    assert target["url"].startswith(bucket.settings.endpoint)
    assert target["headers"] == {"Content-Type": "video/mp4"}
    assert send(target, FILE).status_code == 200
    assert stored(people, registered, bucket) == len(FILE)
    confirmed = client.post(f"/videos/{registered['video_id']}/confirm")
    assert confirmed.status_code == 200 and confirmed.json()["uploaded_at"] is not None
    # With a bucket, the service takes no files itself.
    answer = client.put(f"/videos/{register(client)['video_id']}/content", content=FILE)
    assert is_problem(answer, 409, "wrong_place")


@pytest.mark.parametrize("content", [FILE[:-1], FILE + b"!", b""])
def test_the_bucket_refuses_a_file_of_another_size(client, people, bucket, content):
    registered = register(client)
    refused = send(registered["upload"], content)
    assert (refused.status_code, "SignatureDoesNotMatch" in refused.text) == (403, True)
    assert stored(people, registered, bucket) is None
    confirmed = client.post(f"/videos/{registered['video_id']}/confirm")
    assert is_problem(confirmed, 409, "wrong_state")
    assert "is not there yet: upload it first" in confirmed.json()["detail"]


def test_the_bucket_refuses_a_file_of_another_type(client, people, bucket):
    registered = register(client, type="application/octet-stream")
    assert send(registered["upload"], FILE, **{"Content-Type": "text/html"}).status_code == 403
    assert stored(people, registered, bucket) is None
    assert send(registered["upload"], FILE).status_code == 200


def test_the_bucket_refuses_another_key_and_a_later_date(client, bucket):
    target = register(client)["upload"]
    other = target | {"url": target["url"].replace("video.mp4", "captions.srt")}
    assert send(other, FILE).status_code == 403
    longer = target | {"url": target["url"].replace("X-Amz-Expires=21600", "X-Amz-Expires=604800")}
    assert longer["url"] != target["url"] and send(longer, FILE).status_code == 403


def test_a_confirmation_looks_at_the_objects_size(client, people, bucket):
    registered = register(client)
    # A server that does not check what is signed.
    bucket.put(people.catalog.get_video(registered["video_id"]).storage_key, FILE + b"more", "video/mp4")
    confirmed = client.post(f"/videos/{registered['video_id']}/confirm")
    assert is_problem(confirmed, 409, "wrong_state")
    assert f"has {len(FILE) + 4} bytes, and {len(FILE)} were registered" in confirmed.json()["detail"]
    assert people.catalog.get_video(registered["video_id"]).uploaded_at is None


def test_credentials_come_from_the_settings_or_from_the_environment(bucket, monkeypatch, tmp_path):
    for name in ("AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "its secret")
    settings = replace(bucket.settings, access_key_id=None, secret_access_key=None)
    url = upload_url(ObjectStore(settings), "a/b.mp4", 60, size=1, content_type="video/mp4")
    assert url is not None and "AKIAOFTHEENVIRONMENT" in url and "secret" not in url


def test_a_folder_has_no_urls(tmp_path):
    store = ObjectStore.from_url(tmp_path.as_uri())
    assert upload_url(store, "a.mp4", 60, size=1, content_type="video/mp4") is None
