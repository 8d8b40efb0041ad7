"""Contract: the routes, for this machine's operator and for users, over both transports."""

import uuid

import pytest

from captionacc_dagster.resources.catalog import CatalogUnavailableError
from captionacc_dagster.web.service.routes import uploads
from modal_gpu.keys import VideoKeys
from tests.web.service.conftest import Starts

REGION = {"crop_left": 0.1, "crop_top": 0.7, "crop_right": 0.9, "crop_bottom": 0.95}
NOBODY = "11111111-1111-4111-8111-111111111111"


def is_problem(answer, status: int, reason: str = "") -> bool:
    body = answer.json()
    return (
        answer.status_code == body["status"] == status
        and answer.headers["content-type"] == "application/problem+json"
        and body["request_id"] == answer.headers["x-request-id"]
        and (not reason or body["reason"] == reason)
    )


class TestVideos:
    def test_a_video_is_listed_found_renamed_and_deleted(self, client, people):
        video = people.own(people.videos.uploaded(display_path="summer holiday.mp4"))
        people.own(people.videos.uploaded(display_path="winter 100%.mp4"))
        listed = client.get("/videos").json()
        assert [row["name"] for row in listed["videos"]] == ["winter 100%.mp4", "summer holiday.mp4"]
        assert [row["video_id"] for row in client.get("/videos?q=HOLI").json()["videos"]] == [video.video_id]
        assert [row["name"] for row in client.get("/videos", params={"q": "0%"}).json()["videos"]] == [
            "winter 100%.mp4"
        ]
        one = f"/videos/{video.video_id}"
        assert client.get(one).json()["layout"] == {
            "status": "wait",
            "run_id": None,
            "error": None,
            "finished_at": None,
            "note": "",
        }
        assert client.patch(one, json={"name": "beach.mp4"}).json()["name"] == "beach.mp4"
        assert client.delete(one).status_code == client.delete(one).status_code == 204
        assert is_problem(client.get(one), 404, "video_deleted")
        assert len(client.get("/videos").json()["videos"]) == 1

    def test_pages_follow_each_other(self, client, people):
        ids = [people.own(people.videos.uploaded()).video_id for _ in range(3)][::-1]
        first = client.get("/videos?limit=2").json()
        assert [row["video_id"] for row in first["videos"]] == ids[:2]
        second = client.get(f"/videos?limit=2&after={first['next']}").json()
        assert ([row["video_id"] for row in second["videos"]], second["next"]) == (ids[2:], None)

    @pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
    def test_an_unknown_video_is_not_found(self, client, method):
        body = {"name": "x"} if method == "PATCH" else None
        assert is_problem(client.request(method, f"/videos/{NOBODY}", json=body), 404, "unknown_video")

    def test_what_is_no_id_is_refused_with_the_place(self, client):
        answer = client.get("/videos/x")
        assert is_problem(answer, 422, "invalid_request")
        assert answer.json()["errors"][0]["at"] == "path.video_id"

    @pytest.mark.parametrize(
        "body", [{}, {"name": ""}, {"name": "a\0b"}, {"name": "x" * 1025}, {"nome": "x"}]
    )
    def test_an_unusable_name_is_refused(self, client, people, body):
        video = people.own(people.videos.uploaded())
        assert is_problem(client.patch(f"/videos/{video.video_id}", json=body), 422)


class TestUploads:
    def register(self, client, **changes):
        return client.post("/videos", json={"name": "a.mp4", "size": 5, "type": "video/mp4"} | changes)

    def test_a_file_is_registered_sent_and_confirmed(self, client, people, starts: Starts, store):
        registered = self.register(client, name="C:\\clips\\a.mp4").json()
        url = registered["upload"]["url"]
        assert url == f"/videos/{registered['video_id']}/content"
        confirm = f"/videos/{registered['video_id']}/confirm"
        assert is_problem(client.post(confirm), 409)
        assert client.put(url, content=b"12345").status_code == 204
        confirmed = client.post(confirm)
        assert (confirmed.status_code, confirmed.json()["name"]) == (200, "a.mp4")
        assert confirmed.json()["uploaded_at"] is not None
        assert starts.asked == [("layout", registered["video_id"])]
        row = people.catalog.get_video(registered["video_id"])
        assert store.get(row.storage_key) == b"12345"
        assert row.storage_key == VideoKeys(row.tenant_id, row.video_id).video
        # A repetition changes nothing, and the file is closed.
        assert client.post(confirm).json() == confirmed.json()
        assert is_problem(client.put(url, content=b"54321"), 409, "wrong_state")

    def test_an_upload_that_ends_late_does_not_replace_a_confirmed_file(
        self, client, people, store, monkeypatch
    ):
        registered = self.register(client).json()
        row = people.catalog.get_video(registered["video_id"])
        exactly = uploads._exactly

        async def slow(request, size):
            async for piece in exactly(request, size):
                yield piece
            store.put(row.storage_key, b"first", "video/mp4")
            people.catalog.confirm_upload(row.video_id, 5)

        monkeypatch.setattr(uploads, "_exactly", slow)
        assert is_problem(client.put(registered["upload"]["url"], content=b"later"), 409, "wrong_state")
        assert store.get(row.storage_key) == b"first"

    @pytest.mark.parametrize(("content", "status"), [(b"1234", 400), (b"123456", 413), (b"", 400)])
    def test_a_file_of_another_size_leaves_nothing(self, client, people, store, content, status):
        registered = self.register(client).json()
        assert is_problem(client.put(registered["upload"]["url"], content=content), status)
        row = people.catalog.get_video(registered["video_id"])
        assert not store.exists(row.storage_key)

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"type": "text/html"}, 415),
            ({"type": "application/octet-stream", "name": "a.exe"}, 415),
            ({"size": 0}, 422),
            ({"size": 10**13}, 413),
            ({"size": 2**70}, 422),
            ({"name": ""}, 422),
            ({"type": "video/mp4; x=y"}, 422),
        ],
    )
    def test_a_file_that_cannot_be_taken_is_refused(self, client, people, changes, status):
        assert is_problem(self.register(client, **changes), status)

    def test_an_unknown_type_with_a_videos_name_is_taken(self, client, people):
        assert self.register(client, type="application/octet-stream", name="a.MKV").status_code == 201


class TestLayout:
    @pytest.mark.parametrize("path", ["actions/approve-layout", "approve-layout"])
    def test_an_approval_answers_the_run(self, client, people, starts: Starts, path):
        video = people.own(people.videos.laid_out())
        answer = client.post(f"/videos/{video.video_id}/{path}", json={"crop_region": REGION})
        assert (answer.status_code, answer.json()) == (
            202,
            {"run_id": "run-of-captions", "status": "queued", "priority": 65},
        )
        row = people.catalog.get_video(video.video_id)
        assert vars(row.crop_region) == REGION and not row.disable_age_boosting
        assert row.layout_approved_by in ("operator", people.owner)

    def test_zones_and_age_boosting_are_taken(self, client, people):
        video = people.own(people.videos.laid_out())
        zones = [{"zone_index": 1, "crop_region": REGION | {"crop_top": 0.0, "crop_bottom": 0.2}}]
        answer = client.post(
            f"/videos/{video.video_id}/actions/approve-layout?disable_age_boosting=true",
            json={"crop_region": REGION, "zones": zones},
        )
        assert answer.status_code == 202
        row = people.catalog.get_video(video.video_id)
        assert [zone.zone_index for zone in row.caption_zones] == [1] and row.disable_age_boosting

    def test_without_a_body_the_proposed_region_is_approved(self, client, people):
        video = people.own(people.videos.laid_out())
        assert client.post(f"/videos/{video.video_id}/actions/approve-layout").status_code == 202
        row = people.catalog.get_video(video.video_id)
        assert row.crop_region == row.proposed_crop_region is not None

    @pytest.mark.parametrize(
        "body",
        [
            {"crop_region": REGION | {"crop_left": 0.95}},
            {"crop_region": REGION | {"crop_left": -1}},
            {"crop_region": {"crop_left": 0}},
            {"zones": [{"zone_index": 1, "crop_region": REGION}] * 2},
            {"zones": [{"zone_index": 0, "crop_region": REGION}]},
        ],
    )
    def test_an_impossible_region_is_refused(self, client, people, body):
        video = people.own(people.videos.laid_out())
        answer = client.post(f"/videos/{video.video_id}/actions/approve-layout", json=body)
        assert is_problem(answer, 422)

    def test_a_layout_that_is_not_made_conflicts(self, client, people):
        video = people.own(people.videos.uploaded())
        answer = client.post(f"/videos/{video.video_id}/actions/approve-layout", json={"crop_region": REGION})
        assert is_problem(answer, 409, "wrong_state")
        assert "cannot be approved in state wait" in answer.json()["detail"]


class TestCaptions:
    def test_a_caption_is_read_again(self, client, people):
        video = people.with_captions()
        path = f"/videos/{video.video_id}/captions/2/request-ocr"
        answer = client.post(f"{path}?disable_age_boosting=true")
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        (request,) = people.catalog.list_caption_ocr_requests(video.video_id)
        assert request.caption_ids == [2]
        assert people.catalog.get_video(video.video_id).disable_age_boosting

    def test_a_caption_that_is_not_there_is_not_found(self, client, people):
        video = people.with_captions()
        answer = client.post(f"/videos/{video.video_id}/captions/9/request-ocr")
        assert is_problem(answer, 404, "unknown_caption")

    def test_before_there_are_captions_it_conflicts(self, client, people):
        video = people.own(people.videos.laid_out())
        answer = client.post(f"/videos/{video.video_id}/captions/1/request-ocr")
        assert is_problem(answer, 409, "wrong_state")

    def test_a_failed_stage_is_retried_and_a_waiting_one_cancelled(self, client, people, starts):
        video = people.own(people.videos.uploaded())
        cancelled = client.post(f"/videos/{video.video_id}/actions/cancel/layout")
        assert cancelled.json()["layout"]["status"] == "error"
        assert client.post(f"/videos/{video.video_id}/actions/retry/layout").status_code == 202
        assert starts.asked == [("layout", video.video_id)]
        assert is_problem(client.post(f"/videos/{video.video_id}/actions/retry/layout"), 409)

    def test_a_review_is_completed(self, client, people):
        video = people.own(people.videos.read())
        answer = client.post(f"/videos/{video.video_id}/actions/complete-review/text")
        assert answer.json()["text"]["status"] == "done"


class TestJobs:
    def create(self, client, video, kind, **more):
        return client.post("/jobs", json={"type": kind, "video_id": video.video_id} | more)

    def test_a_job_follows_its_stage(self, client, people):
        video = people.own(people.videos.uploaded())
        created = self.create(client, video, "layout", parameters={"languages": ["de", "zh-Hant"]})
        assert created.status_code == 202
        job = created.json()
        assert (job["state"], job["progress"], job["type"]) == ("queued", 0, "layout")
        # Asking again is no second job, and a client that was loaded again finds it.
        assert self.create(client, video, "layout").json()["job_id"] == job["job_id"]
        assert [each["job_id"] for each in client.get("/jobs").json()["jobs"]] == [job["job_id"]]
        people.catalog.begin_stage(video.video_id, "layout", "run-1")
        assert people.catalog.report_progress(video.video_id, "layout", "run-1", 42, "frames 2 of 5", 2, 5)
        now = client.get(f"/jobs/{job['job_id']}").json()
        expected = ("running", 42, "frames 2 of 5", "run-1")
        assert (now["state"], now["progress"], now["message"], now["run_id"]) == expected
        people.catalog.finish_layout(video.video_id, "run-1", people.videos.outcome())
        done = client.get(f"/jobs/{job['job_id']}").json()
        assert (done["state"], done["progress"]) == ("succeeded", 100)
        assert client.get("/jobs").json()["jobs"] == []
        assert [each["state"] for each in client.get("/jobs?state=recent").json()["jobs"]] == ["succeeded"]
        assert people.catalog.get_video(video.video_id).ocr_languages == ["de", "zh-Hant"]

    def test_a_cancelled_job_ends_its_run(self, client, people):
        video = people.own(people.videos.uploaded())
        job = self.create(client, video, "process").json()
        people.catalog.begin_stage(video.video_id, "layout", "run-1")
        cancelled = client.delete(f"/jobs/{job['job_id']}").json()
        assert cancelled["state"] == "cancelled" and "cancelled by" in cancelled["message"]
        assert [each.run_id for each in people.catalog.pending_run_cancellations()] == ["run-1"]
        assert client.delete(f"/jobs/{job['job_id']}").json() == cancelled

    def test_a_job_that_fails_says_why(self, client, people):
        video = people.own(people.videos.uploaded())
        job = self.create(client, video, "process").json()
        people.catalog.begin_stage(video.video_id, "layout", "run-1")
        people.catalog.fail_stage(video.video_id, "layout", "run-1", "no video stream", "NoVideoStreamError")
        failed = client.get(f"/jobs/{job['job_id']}").json()
        assert (failed["state"], failed["message"]) == ("failed", "no video stream")

    def test_finished_stages_are_made_again(self, client, people):
        video = people.with_captions()
        assert self.create(client, video, "captions").json()["state"] == "queued"
        row = people.catalog.get_video(video.video_id)
        assert (row.layout.status, row.boundaries.status, row.text.status) == ("done", "wait", "wait")

    def test_a_job_waits_until_a_person_approves(self, client, people):
        video = people.own(people.videos.uploaded())
        job = self.create(client, video, "process").json()
        people.catalog.begin_stage(video.video_id, "layout", "run-1")
        people.catalog.finish_layout(video.video_id, "run-1", people.videos.outcome())
        done = client.get(f"/jobs/{job['job_id']}").json()
        assert (done["state"], done["message"]) == ("succeeded", "the layout waits for approval")

    def test_an_export_answers_where_the_captions_are(self, client, people):
        video = people.with_captions()
        job = self.create(client, video, "export", parameters={"format": "vtt"}).json()
        assert job["state"] == "succeeded"
        assert job["result"] == {"format": "vtt", "href": f"/videos/{video.video_id}/export.vtt", "rows": 2}

    def test_an_export_changes_no_languages(self, client, people):
        video = people.with_captions()
        answer = self.create(client, video, "export", parameters={"languages": ["ko"]})
        assert is_problem(answer, 422, "invalid_request")
        row = people.catalog.get_video(video.video_id)
        assert (row.ocr_languages, row.text.status) == ([], video.text.status)

    @pytest.mark.parametrize(
        ("stage", "kind", "detail"),
        [
            ("laid_out", "captions", "is not approved"),
            ("approved", "caption_text", "has no captions"),
            ("cropping", "captions", "works on the boundaries stage"),
            ("laid_out", "export", "has no captions"),
        ],
    )
    def test_work_without_its_inputs_conflicts(self, client, people, stage, kind, detail):
        video = people.own(getattr(people.videos, stage)())
        answer = self.create(client, video, kind)
        assert is_problem(answer, 409, "wrong_state") and detail in answer.json()["detail"]

    def test_unknown_jobs_are_not_found(self, client):
        job = f"/jobs/{uuid.uuid4()}"
        assert is_problem(client.get(job), 404) and is_problem(client.delete(job), 404)

    def test_only_an_operator_chooses_the_priority(self, people, operator, as_user):
        video = people.own(people.videos.uploaded())
        assert is_problem(self.create(as_user(people.owner), video, "layout", priority=99), 403)
        assert self.create(operator, video, "layout", priority=99).json()["priority"] == 99
        assert people.catalog.get_video(video.video_id).priority_override == 99

    def test_a_job_may_be_asked_for_without_points_for_waiting(self, people, operator):
        video = people.own(people.videos.uploaded())
        assert self.create(operator, video, "layout", disable_age_boosting=True).status_code == 202
        assert people.catalog.get_video(video.video_id).disable_age_boosting


class TestSession:
    def test_the_caller_is_named(self, people, operator, as_user):
        assert operator.get("/session").json()["role"] == "operator"
        assert as_user(people.owner).get("/session").json() == {
            "user_id": people.owner,
            "tenant_id": people.videos.tenant.tenant_id,
            "role": "owner",
        }


class TestHealth:
    def test_it_lives_and_is_healthy(self, client):
        assert client.get("/livez").json() == {"status": "ok"}
        assert client.get("/healthz").json() == {"status": "ok", "catalogue": "ok"}

    def test_the_log_says_why_it_is_not_healthy(self, operator, local_parts, monkeypatch, caplog):
        def away():
            raise CatalogUnavailableError("no answer within 5 s")

        monkeypatch.setattr(local_parts.catalog, "list_access_tiers", away)
        answer = operator.get("/healthz")
        assert (answer.status_code, answer.json()["catalogue"]) == (503, "failing")
        assert "no answer within 5 s" in caplog.text

    def test_the_documentation_lists_every_route(self, operator):
        document = operator.get("/openapi.json").json()
        page = operator.get("/docs")
        assert page.headers["content-type"].startswith("text/html") and "<script" not in page.text
        for path, operations in document["paths"].items():
            assert all(f"{method.upper()} {path}" in page.text for method in operations)
