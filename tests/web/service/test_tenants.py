"""The cross-tenant matrix over HTTP: who may do what with whose video, over both transports."""

import uuid

import pytest

from captionacc_dagster.resources.catalog import AlreadyRegisteredError, InvalidArgumentError, WrongStateError
from captionacc_dagster.resources.catalog.users import catalog_of_user
from modal_gpu.keys import VideoKeys
from tests.postgrest.server import make_key
from tests.resources.catalog.world import ADMIN, MEMBER, OTHER_MEMBER, OWNER, PENDING, STRANGER

REGION = {"crop_left": 0.1, "crop_top": 0.7, "crop_right": 0.9, "crop_bottom": 0.95}
#: Method, path and body. Each refuses, or succeeds, for the caller and not for the state.
ROUTES = {
    "read": ("GET", "/videos/{video}", None),
    "rename": ("PATCH", "/videos/{video}", {"name": "x.mp4"}),
    "approve": ("POST", "/videos/{video}/actions/approve-layout", {"crop_region": REGION}),
    "older approve": ("POST", "/videos/{video}/approve-layout", {"crop_region": REGION}),
    "review": ("POST", "/videos/{video}/actions/complete-review/boundaries", None),
    "confirm": ("POST", "/videos/{video}/confirm", None),
    "cancel": ("POST", "/videos/{video}/actions/cancel/text", None),
    "create job": ("POST", "/jobs", {"type": "caption_text", "video_id": "{video}"}),
    "read job": ("GET", "/jobs/{job}", None),
    "cancel job": ("DELETE", "/jobs/{job}", None),
    "delete": ("DELETE", "/videos/{video}", None),
}
#: Whose videos each caller may use: of the member, a colleague, and another tenant.
ALLOWED = {
    "nobody": (None, ""),
    "member": (MEMBER, "M"),
    "colleague": (OTHER_MEMBER, "C"),
    "owner": (OWNER, "MC"),
    "stranger": (STRANGER, "S"),
    "pending": (PENDING, ""),
    "admin": (ADMIN, "MCS"),
}


@pytest.mark.parametrize("route", ROUTES)
def test_only_ones_own_videos_can_be_used(world, as_user, route):
    method, path, body = ROUTES[route]

    def call(caller: str, letter: str):
        video = world.videos[letter].video_id
        sent = body and {name: video if value == "{video}" else value for name, value in body.items()}
        client = as_user(ALLOWED[caller][0])
        return client.request(method, path.format(video=video, job=jobs[letter].job_id), json=sent)

    jobs = {letter: world.catalog.list_jobs(video_id=world.videos[letter].video_id)[0] for letter in "MCS"}
    before = {letter: world.catalog.get_video(world.videos[letter].video_id) for letter in "MCS"}
    for caller, (_, letters) in ALLOWED.items():
        # Nobody learns whether another tenant's video exists.
        refused = 401 if caller == "nobody" else 403 if caller == "pending" else 404
        for letter in sorted(set("MCS") - set(letters)):
            answer = call(caller, letter)
            assert (caller, letter, answer.status_code) == (caller, letter, refused)
    for letter in "MCS":
        assert world.catalog.get_video(before[letter].video_id) == before[letter]
        assert world.catalog.get_job(jobs[letter].job_id) == jobs[letter]
    for caller, letter in (("member", "M"), ("owner", "C"), ("admin", "S")):
        assert call(caller, letter).status_code < 300


def test_lists_hold_ones_own(world, as_user):
    for caller, (user, letters) in ALLOWED.items():
        client = as_user(user)
        if caller in ("nobody", "pending"):
            for path in ("/videos", "/videos?q=holiday", "/jobs"):
                assert client.get(path).status_code == (401 if caller == "nobody" else 403)
            continue
        # The demo video is the stranger's.
        own = {world.videos[letter].video_id for letter in letters + ("D" if "S" in letters else "")}
        for path, name in (("/videos", "videos"), ("/videos?q=holiday", "videos"), ("/jobs", "jobs")):
            assert {row["video_id"] for row in client.get(path).json()[name]} == own


def test_the_service_role_is_an_operator(world, as_user):
    client = as_user(None, role="service_role")
    assert client.get("/session").json()["role"] == "operator"
    assert len(client.get("/videos").json()["videos"]) == 4


def test_uploads_go_to_ones_own_tenant(world, as_user):
    sent = {"name": "a.mp4", "size": 3, "type": "video/mp4"}
    for user in (MEMBER, STRANGER):
        registered = as_user(user).post("/videos", json=sent).json()
        row = world.catalog.get_video(registered["video_id"])
        profile = world.catalog.get_profile(user)
        assert row.tenant_id == profile.tenant_id and row.storage_key.startswith(profile.tenant_id)
        other = as_user(STRANGER if user == MEMBER else MEMBER)
        assert other.put(registered["upload"]["url"], content=b"abc").status_code == 404
    assert as_user(PENDING).post("/videos", json=sent).status_code == 403


def test_an_upload_has_the_key_of_its_own_new_video(world):
    claims = {"role": "authenticated", "sub": MEMBER}
    member = catalog_of_user(world.catalog, make_key("authenticated", MEMBER), claims)
    colleagues = world.videos["C"]
    keys = VideoKeys(colleagues.tenant_id, str(uuid.uuid4()))
    for key in (keys.captions_db, VideoKeys(keys.tenant_id, colleagues.video_id).captions_db):
        with pytest.raises(InvalidArgumentError, match="storage key"):
            member.register_upload(None, keys.video_id, key, 1, "a.mp4")
    taken = VideoKeys(keys.tenant_id, colleagues.video_id).video
    with pytest.raises(AlreadyRegisteredError):
        member.register_upload(None, colleagues.video_id, taken, 1, "a.mp4")
    registered = member.register_upload(None, keys.video_id, keys.video, 1, "a.mp4")
    assert member.register_upload(None, keys.video_id, keys.video, 1, "a.mp4") == registered


def test_a_user_confirms_no_other_size_than_the_registered_one(world):
    claims = {"role": "authenticated", "sub": MEMBER}
    member = catalog_of_user(world.catalog, make_key("authenticated", MEMBER), claims)
    keys = VideoKeys(world.videos["M"].tenant_id, str(uuid.uuid4()))
    member.register_upload(None, keys.video_id, keys.video, 10, "a.mp4")
    for size in (0, 9, 11):
        with pytest.raises(WrongStateError, match="10 were registered"):
            member.confirm_upload(keys.video_id, size)
    assert member.confirm_upload(keys.video_id, 10).uploaded_at is not None


def test_captions_are_edited_with_the_users_rights(people, as_user):
    video = people.own(people.with_captions())
    client, url = as_user(people.owner), f"/videos/{video.video_id}/captions"
    start = people.catalog.events_cursor()
    version = client.get(url).json()["captions"][0]["version"]
    assert client.put(f"{url}/1", json={"version": version, "text": "x"}).status_code == 200
    locks = [row.payload for row in people.catalog.events_after(start) if row.kind == "lock"]
    # A lock of the platform has the type "server", and the name that the service gives it.
    assert [(lock["type"], lock["owner"]) for lock in locks] == [("client", people.owner), (None, None)]


def test_a_quota_refuses_the_registration(world, as_user):
    from tests.full_catalog import Limits

    world.catalog.set_tenant_limits(world.videos["M"].tenant_id, Limits(video_count_limit=0))
    answer = as_user(MEMBER).post("/videos", json={"name": "a.mp4", "size": 3, "type": "video/mp4"})
    assert (answer.status_code, answer.json()["reason"]) == (409, "quota_exceeded")
