"""Results of a run that has not ended, over both transports: captions of segments, texts as they come."""

from dataclasses import replace

import numpy as np
import pytest

from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions import text_parts
from modal_gpu.captions.text_parts import TextPartWriter
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CaptionRange,
    CropInferRequest,
    CropRegion,
)
from modal_gpu.databases.captions import Caption, write_captions
from modal_gpu.databases.extents import SegmentScores, write_segment
from modal_gpu.functions.extents import publish_extents
from modal_gpu.keys import VideoKeys
from tests.resources.catalog.conftest import STRIP
from tests.web.service.conftest import People

RUN = "crop-run"


@pytest.fixture
def video(people: People) -> VideoRow:
    """A video of 80 frames that a run crops for the first time."""
    video = people.own(people.videos.cropping())
    people.catalog.allot_cropped_frames_version(video.video_id, RUN, STRIP)
    return video


def scores(start: int, end: int, *spans: tuple[int, int]) -> SegmentScores:
    """Scores of the frames ``[start, end)``, with captions in ``spans``."""
    shown = np.zeros(end + 1, int)
    for number, (first, last) in enumerate(spans, 1):
        shown[first:last] = number
    part = slice(start, end)
    before = np.roll(shown, 1)
    same = np.where(shown == before, 0.99, 0.01).astype(np.float32)[part]
    presence = np.where(shown > 0, 0.99, 0.01).astype(np.float32)[part]
    return SegmentScores(start, presence, same, np.full(end - start, np.nan), "extents-10", "")


def put_segment(people: People, video: VideoRow, found: SegmentScores) -> None:
    keys = VideoKeys(video.tenant_id, video.video_id)
    people.store.put(keys.caption_frame_extents_part(1, found.start_index), write_segment(found))


def listed(client, video: VideoRow):
    answer = client.get(f"/videos/{video.video_id}/captions")
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestSegments:
    def test_captions_of_finished_segments_are_shown_and_cannot_be_edited(self, client, people, video):
        found = listed(client, video)
        assert (found["captions"], found["partial"], found["editable"]) == ([], True, False)
        put_segment(people, video, scores(40, 80, (50, 60)))
        put_segment(people, video, scores(0, 20, (5, 15)))
        found = listed(client, video)
        assert (found["partial"], found["editable"], found["working"]) == (True, False, ["boundaries"])
        rows = found["captions"]
        assert [(row["start_index"], row["end_index"], row["partial"]) for row in rows] == [
            (5, 15, True),
            (50, 60, True),
        ]
        assert [row["standing"] for row in rows] == ["unread"] * 2
        assert all(row["id"] < 0 for row in rows) and len({row["id"] for row in rows}) == 2
        one = f"/videos/{video.video_id}/captions/{rows[0]['id']}"
        answer = client.put(one, json={"version": rows[0]["version"], "text": "x"})
        assert answer.status_code == 422
        edit = {"key": "1", "captions": [], "wanted": [{"start_seconds": 1, "end_seconds": 2, "text": "x"}]}
        answer = client.post(f"/videos/{video.video_id}/captions/edits", json={"edits": [edit]})
        assert (answer.status_code, answer.json()["reason"]) == (404, "captions_missing")

    def test_the_list_is_another_one_after_each_segment(self, client, people, video):
        url = f"/videos/{video.video_id}/captions"
        tags = [client.get(url).headers["etag"]]
        for start in (0, 40):
            put_segment(people, video, scores(start, start + 40, (start + 5, start + 15)))
            tags.append(client.get(url).headers["etag"])
        assert len(set(tags)) == 3
        assert client.get(url, headers={"if-none-match": tags[-1]}).status_code == 304

    def test_after_the_merge_all_are_shown_until_the_captions_are_stored(self, client, people, video):
        keys = VideoKeys(video.tenant_id, video.video_id)
        request = CropInferRequest(
            keys.tenant_id, keys.video_id, keys.video, CropRegion(0, 0.8, 1, 1), 1, RUN, frame_count=80
        )
        whole = scores(0, 80, (5, 15), (50, 60))
        times = {"started_at": "2026-11-27T00:00:00Z", "completed_at": "2026-11-27T00:00:00Z"}
        publish_extents(request, whole, people.store, **times, seconds=1.0)
        found = listed(client, video)
        assert ([row["start_index"] for row in found["captions"]], found["editable"]) == ([5, 50], False)
        people.store.put(keys.captions_db, write_captions([Caption(5, 15, 0.5, 1.5, ocr_text="Hi.")]))
        found = listed(client, video)
        assert ([row["id"] for row in found["captions"]], found["editable"]) == ([1], True)
        assert not found["captions"][0]["partial"]

    def test_stored_captions_stay_until_a_later_run_has_ended(self, client, people, video):
        put_segment(people, video, scores(0, 80, (5, 15), (50, 60)))
        keys = VideoKeys(video.tenant_id, video.video_id)
        people.store.put(keys.captions_db, write_captions([Caption(5, 15, 0.5, 1.5, ocr_text="Hi.")]))
        assert [row["text"] for row in listed(client, video)["captions"]] == ["Hi."]

    def test_without_a_run_leftovers_are_not_shown(self, client, people):
        video = people.own(people.videos.approved())
        put_segment(people, video, scores(0, 80, (5, 15)))
        assert listed(client, video)["captions"] == []


class TestTexts:
    @pytest.fixture
    def reading(self, people: People, monkeypatch: pytest.MonkeyPatch) -> VideoRow:
        """A video with three captions, of which a run reads two."""
        monkeypatch.setattr(text_parts, "WRITE_SECONDS", 0)
        video = people.with_captions()
        people.catalog.begin_stage(video.video_id, "text", RUN)
        unread = [Caption(10 * n, 10 * n + 5, n, n + 0.5, id=n) for n in (1, 2, 3)]
        captions = [replace(unread[0], text="Mine.", text_pending=False), *unread[1:]]
        key = VideoKeys(video.tenant_id, video.video_id).captions_db
        people.store.put(key, write_captions(captions))
        return people.catalog.get_video(video.video_id)

    def read(self, people: People, video: VideoRow, *texts: str) -> None:
        """Let a call have read the first of the captions 1, 2, 3."""
        captions = [CaptionRange(n, 10 * n, 10 * n + 5) for n in (1, 2, 3)]
        crop = CropRegion(0, 0.8, 1, 1)
        request = CaptionOcrRequest(video.tenant_id, video.video_id, 1, crop, 80, captions)
        results = [CaptionOcrResult(text, 0.8, 5) for text in texts]
        assert TextPartWriter(request, people.store).store(results)

    def test_texts_are_shown_as_they_are_read(self, client, people, reading):
        url = f"/videos/{reading.video_id}/captions"
        tag = client.get(url).headers["etag"]
        self.read(people, reading, "One.", "Two.")
        answer = client.get(url, headers={"if-none-match": tag})
        rows = answer.json()["captions"]
        assert [(row["text"], row["partial"], row["standing"]) for row in rows] == [
            ("Mine.", False, "shown"),
            ("Two.", True, "unread"),
            ("", False, "unread"),
        ]
        assert answer.json()["editable"] and answer.json()["partial"]

    def test_a_text_that_was_just_read_can_be_corrected_at_once(self, client, people, reading):
        self.read(people, reading, "One.", "Tow.")
        row = listed(client, reading)["captions"][1]
        url = f"/videos/{reading.video_id}/captions/{row['id']}"
        answer = client.put(url, json={"version": row["version"], "text": "Two."})
        assert answer.status_code == 200, answer.text
        row = listed(client, reading)["captions"][1]
        assert (row["text"], row["partial"], row["reviewed"]) == ("Two.", False, True)

    def test_without_a_run_leftovers_are_not_shown(self, client, people, reading):
        self.read(people, reading, "One.", "Two.")
        people.catalog.fail_stage(reading.video_id, "text", RUN, "failed", "OcrError")
        assert [row["text"] for row in listed(client, reading)["captions"]] == ["Mine.", "", ""]
