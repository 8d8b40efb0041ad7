"""The captions' routes, for this machine's operator and for a user, on both transports."""

import re
import uuid
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from benchmarks.synthetic_video import SyntheticFiles
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.keys import VideoKeys
from tests.web.service.conftest import People

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def three() -> list[Caption]:
    texts = ("One.", "Two and three.", "Four.")
    return [
        Caption(
            10 * number,
            10 * number + 10,
            float(number),
            float(number + 1),
            id=number,
            ocr_text=text,
            ocr_confidence=0.9,
            ocr_status="completed",
        )
        for number, text in enumerate(texts, 1)
    ]


@pytest.fixture
def video(people: People) -> VideoRow:
    """A video of the owner with three captions."""
    video = people.own(people.videos.with_captions())
    put(people, video, three())
    return video


def put(people: People, video: VideoRow, captions: list[Caption]) -> None:
    key = VideoKeys(video.tenant_id, video.video_id).captions_db
    people.store.put(key, write_captions(captions), "application/gzip")


def stored(people: People, video: VideoRow) -> list[Caption]:
    return read_captions(people.store.get(VideoKeys(video.tenant_id, video.video_id).captions_db))


def listed(client: TestClient, video: VideoRow, **query: str):
    answer = client.get(f"/videos/{video.video_id}/captions", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def named(row) -> dict[str, object]:
    return {"id": row["id"], "version": row["version"]}


class TestList:
    def test_captions_with_versions_and_what_is_left(self, client: TestClient, video: VideoRow):
        found = listed(client, video)
        assert [row["text"] for row in found["captions"]] == ["One.", "Two and three.", "Four."]
        assert (found["count"], found["to_review"]) == (3, 3)
        first = found["captions"][0]
        assert re.fullmatch("[0-9a-f]{16}", first["version"])
        assert first["doubts"] == ["text uncertain"]
        assert (first["start_seconds"], first["end_seconds"], first["standing"]) == (1.0, 2.0, "shown")

    def test_an_unchanged_list_is_not_sent_again(self, client: TestClient, video: VideoRow):
        url = f"/videos/{video.video_id}/captions"
        tag = client.get(url).headers["etag"]
        again = client.get(url, headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        row = listed(client, video)["captions"][0]
        client.post(f"{url}/{row['id']}/confirm", json={"version": row["version"]})
        assert client.get(url, headers={"if-none-match": tag}).status_code == 200

    def test_while_a_run_works_what_is_ready_is_marked(
        self, client: TestClient, people: People, video: VideoRow
    ):
        unread = [replace(three()[0]), replace(three()[1], ocr_text=None, ocr_status="queued")]
        put(people, video, unread)
        found = listed(client, video)
        assert found["partial"]
        assert [row["standing"] for row in found["captions"]] == ["shown", "unread"]

    def test_who_writes_the_captions_is_said_before_anybody_saves(
        self, client: TestClient, people: People, video: VideoRow
    ):
        url = f"/videos/{video.video_id}/captions"
        free = client.get(url)
        with people.catalog.lease(video.video_id, "captions", "run 4711"):
            held = client.get(url, headers={"if-none-match": free.headers["etag"]})
            assert (held.status_code, held.json()["locked_by"]) == (200, "run 4711")
        assert free.json()["locked_by"] is None
        assert client.get(url, headers={"if-none-match": free.headers["etag"]}).status_code == 304

    def test_doubtful_captions_come_first(self, client: TestClient, people: People, video: VideoRow):
        captions = three()
        captions[2] = replace(captions[2], ocr_confidence=0.2)
        put(people, video, captions)
        assert listed(client, video, order="doubtful")["captions"][0]["text"] == "Four."


class TestEdits:
    def test_put_sets_text_and_times(self, client: TestClient, people: People, video: VideoRow):
        row = listed(client, video)["captions"][1]
        answer = client.put(
            f"/videos/{video.video_id}/captions/{row['id']}",
            json={"version": row["version"], "text": "Two.", "end_seconds": 2.5},
        )
        assert answer.status_code == 200, answer.text
        (changed,) = answer.json()["changed"]
        assert (changed["text"], changed["end_seconds"], changed["reviewed"]) == ("Two.", 2.5, True)
        assert changed["was"] == row["version"] != changed["version"]
        assert stored(people, video)[1].text == "Two."

    def test_a_caption_that_changed_is_a_conflict_with_both_texts(
        self, client: TestClient, people: People, video: VideoRow
    ):
        row = listed(client, video)["captions"][0]
        url = f"/videos/{video.video_id}/captions/{row['id']}"
        assert client.put(url, json={"version": row["version"], "text": "Theirs."}).status_code == 200
        answer = client.put(url, json={"version": row["version"], "text": "Mine."})
        assert answer.status_code == 409
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["reason"] == "caption_changed"
        assert problem["yours"]["text"] == "Mine."
        assert problem["current"][str(row["id"])]["text"] == "Theirs."
        assert stored(people, video)[0].text == "Theirs."

    def test_split_merge_remove_and_restore(self, client: TestClient, people: People, video: VideoRow):
        url = f"/videos/{video.video_id}/captions"
        row = listed(client, video)["captions"][1]
        body = {"version": row["version"], "at_seconds": 2.4, "texts": ["Two", "and three."]}
        split = client.post(f"{url}/{row['id']}/split", json=body)
        assert split.status_code == 200, split.text
        parts = [one for one in listed(client, video)["captions"] if 2 <= one["start_seconds"] < 3]
        assert [one["text"] for one in parts] == ["Two", "and three."]
        merged = client.post(f"{url}/merge", json={"captions": [named(one) for one in parts]})
        assert merged.json()["gone"] == [parts[1]["id"]]
        row = listed(client, video)["captions"][1]
        assert row["text"] == "Two\nand three."
        removed = client.delete(f"{url}/{row['id']}", params={"version": row["version"]})
        assert removed.json()["changed"][0]["standing"] == "removed"
        version = removed.json()["changed"][0]["version"]
        back = client.post(f"{url}/{row['id']}/restore", json={"version": version})
        assert back.json()["changed"][0]["text"] == "Two and three."

    def test_edits_are_made_each_by_itself(self, client: TestClient, people: People, video: VideoRow):
        rows = listed(client, video)["captions"]
        wanted = {"start_seconds": 1.0, "end_seconds": 2.0, "text": "x"}
        edits = [
            {"key": "a", "captions": [named(rows[0])], "wanted": [wanted]},
            {"key": "b", "captions": [{"id": rows[1]["id"], "version": "0" * 16}], "wanted": []},
            {"key": "c", "captions": [named(rows[2])], "wanted": []},
            {
                "key": "d",
                "captions": [],
                "wanted": [{"start_seconds": 0.1, "end_seconds": 0.8, "text": "New."}],
            },
            {"key": "e", "captions": [], "wanted": [{**wanted, "text": "There is one."}]},
        ]
        answer = client.post(f"/videos/{video.video_id}/captions/edits", json={"edits": edits})
        assert answer.status_code == 200, answer.text
        outcomes = {one["key"]: one for one in answer.json()["edits"]}
        statuses = {key: one["status"] for key, one in outcomes.items()}
        assert statuses == {"a": "done", "b": "conflict", "c": "done", "d": "done", "e": "refused"}
        assert outcomes["b"]["current"][str(rows[1]["id"])]["text"] == "Two and three."
        assert "overlaps" in outcomes["e"]["message"]
        assert [one["text"] for one in listed(client, video)["captions"] if one["standing"] == "shown"] == [
            "New.",
            "x",
            "Two and three.",
        ]

    def test_a_lock_that_a_run_holds_is_a_409_that_names_it(
        self, client: TestClient, people: People, video: VideoRow
    ):
        row = listed(client, video)["captions"][0]
        with people.catalog.lease(video.video_id, "captions", "run 4711"):
            answer = client.post(
                f"/videos/{video.video_id}/captions/{row['id']}/confirm", json={"version": row["version"]}
            )
        assert (answer.status_code, answer.json()["reason"]) == (409, "lock_held")
        assert "run 4711" in answer.json()["detail"] and answer.headers["retry-after"] == "1"

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"version": "nonsense"}, 422),
            ({"version": "0" * 16, "end_seconds": -1}, 422),
            ({"version": "0" * 16, "unknown": 1}, 422),
            ({"version": "0" * 16, "text": "x"}, 409),
        ],
    )
    def test_invalid_edits_are_problems(self, client: TestClient, video: VideoRow, body, status: int):
        answer = client.put(f"/videos/{video.video_id}/captions/1", json=body)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


class TestFiles:
    @pytest.mark.parametrize(
        ("format", "media_type", "start"),
        [
            ("srt", "application/x-subrip", "1\n00:00:01,000"),
            ("vtt", "text/vtt", "WEBVTT"),
            ("ass", "text/x-ssa", "[Script Info]"),
            ("json", "application/json", "["),
        ],
    )
    def test_export(self, client: TestClient, video: VideoRow, format: str, media_type: str, start: str):
        answer = client.get(f"/videos/{video.video_id}/export.{format}")
        assert answer.status_code == 200 and answer.text.startswith(start)
        assert answer.headers["content-type"].startswith(media_type)
        assert "Two and three." in answer.text

    def test_import_of_what_was_exported_changes_nothing_and_a_correction_does(
        self, client: TestClient, people: People, video: VideoRow
    ):
        url = f"/videos/{video.video_id}"
        text = client.get(f"{url}/export.srt").text
        same = client.post(f"{url}/import?filename=a.srt", content=text.encode())
        assert same.status_code == 200 and not same.json()["written"]
        corrected = text.replace("One.", "Won.").encode()
        tried = client.post(f"{url}/import?filename=a.srt&dry_run=true", content=corrected).json()
        assert tried["counts"]["text changed"] == 1 and not tried["written"]
        made = client.post(f"{url}/import?filename=a.srt", content=corrected).json()
        assert made["written"] and made["changed"][0]["text"] == "Won."
        refused = client.post(f"{url}/import?filename=a.srt", content=b"\xff\xff no")
        assert refused.status_code == 422 and "UTF-8" in refused.json()["detail"]


class TestKeptAnswers:
    def test_after_a_change_no_earlier_answer_is_given(
        self, client: TestClient, people: People, video: VideoRow
    ):
        url = f"/videos/{video.video_id}"
        SyntheticFiles.made().put(
            people.store, VideoKeys(video.tenant_id, video.video_id), ["full", "layout", "raw"]
        )

        def answers() -> list[str]:
            return [client.get(f"{url}/{path}").text for path in ("captions", "export.srt", "layout")]

        assert answers() == answers()
        label = {"frame_index": 0, "box_index": 0, "label": "in"}
        assert client.post(f"{url}/layout/labels", json={"labels": [label]}).status_code == 200
        assert '"label":"in"' in answers()[2]
        row = listed(client, video)["captions"][1]
        sent = {"version": row["version"], "text": "Two."}
        assert client.put(f"{url}/captions/{row['id']}", json=sent).status_code == 200
        assert all("Two." in answer for answer in answers()[:2])
        assert client.patch(url, json={"name": "another.mp4"}).status_code == 200
        assert ["another.mp4" in answer for answer in answers()] == [True, False, True]


class TestRights:
    def test_another_tenants_captions_do_not_exist(self, people: People, as_user, video: VideoRow):
        tenant, user = str(uuid.uuid4()), str(uuid.uuid4())
        people.catalog.ensure_tenant(tenant, "another tenant")
        people.catalog.set_user_profile(user, tenant, role="owner", approval_status="approved")
        stranger = as_user(user)
        url = f"/videos/{video.video_id}"
        # The same app keeps these answers.
        for path in ("captions", "export.srt", "layout"):
            assert as_user(people.owner).get(f"{url}/{path}").status_code == 200
        edit = {"key": "a", "captions": [], "wanted": []}
        answers = [
            stranger.get(f"{url}/captions"),
            stranger.put(f"{url}/captions/1", json={"version": "0" * 16, "text": "Mine."}),
            stranger.post(f"{url}/captions/edits", json={"edits": [edit]}),
            stranger.get(f"{url}/export.srt"),
            stranger.post(f"{url}/import?filename=a.srt", content=b"x"),
            stranger.get(f"{url}/frames/0.webp"),
            stranger.get(f"{url}/strips?from=0&to=3"),
            stranger.get(f"{url}/layout"),
            stranger.get(f"{url}/full-frames/0.jpg"),
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert [caption.text for caption in stored(people, video)] == [None] * 3

    def test_a_video_without_captions_is_a_404_or_an_empty_part(self, client: TestClient, people: People):
        waiting = people.own(people.videos.uploaded())
        assert client.get(f"/videos/{waiting.video_id}/export.srt").status_code == 404
        found = listed(client, waiting)
        assert found["partial"] and found["captions"] == []
