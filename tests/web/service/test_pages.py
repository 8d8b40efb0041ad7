"""The pages: what they need is in the package, and nothing in them breaks the security policy."""

import hashlib
import json
import re

import pytest
from starlette.testclient import TestClient

from captionacc_dagster.web.service.pages import STATIC
from modal_gpu.databases.captions import Caption, write_captions
from modal_gpu.keys import VideoKeys
from tests.web.service.conftest import People

#: Attributes and tags that the policy of no inline scripts and styles would block.
_INLINE = re.compile(
    r"\s(?:style|on[a-z]+)=|<style|<script(?![^>]* src=)|javascript:|https?://", re.IGNORECASE
)


def test_htmx_is_the_file_of_its_npm_package():
    facts = json.loads((STATIC / "htmx.json").read_text())
    assert hashlib.sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest() == facts["sha256"]
    assert facts["version"] in facts["tarball"]


@pytest.fixture
def pages(client: TestClient, people: People) -> dict[str, str]:
    video = people.own(people.videos.with_captions())
    urls = ["/", "/pages/videos", f"/review/{video.video_id}/captions", f"/review/{video.video_id}/layout"]
    answers = {url: client.get(url) for url in urls}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {url: answer.text for url, answer in answers.items()}


def test_pages_name_the_video_and_have_nothing_inline(client: TestClient, pages: dict[str, str]):
    for url, text in pages.items():
        assert "holiday.mp4" in text, url
        assert not _INLINE.search(text), (url, _INLINE.search(text))


def test_files_that_pages_name_are_there(client: TestClient, pages: dict[str, str]):
    found = {name for text in pages.values() for name in re.findall(r'(?:src|href)="(/static/[^"?]+)', text)}
    modules = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js")}
    assert len(found) >= 5 and "captions/main.js" in modules
    for name in found | {f"/static/{module}" for module in modules}:
        assert client.get(name).status_code == 200, name


def test_names_are_escaped(client: TestClient, people: People):
    video = people.own(people.videos.with_captions())
    people.catalog.rename_video(video.video_id, "<img src=x>.mp4")
    for url in ("/", f"/review/{video.video_id}/captions"):
        text = client.get(url).text
        assert "&lt;img src=x&gt;.mp4" in text and "<img src=x>" not in text


def test_captions_that_could_not_be_read_are_counted_at_the_next_view(client: TestClient, people: People):
    video = people.own(people.videos.with_captions())
    count = "<strong>1</strong> of 1"
    assert count not in client.get("/").text
    captions = write_captions([Caption(0, 10, 0.0, 1.0, ocr_text="One.")])
    people.store.put(VideoKeys(video.tenant_id, video.video_id).captions_db, captions)
    assert count in client.get("/").text


def test_videos_with_doubtful_captions_come_first(client: TestClient, people: People):
    video = people.own(people.videos.with_captions())
    captions = write_captions([Caption(0, 10, 0.0, 1.0, ocr_text="0ne.", ocr_confidence=0.5)])
    people.store.put(VideoKeys(video.tenant_id, video.video_id).captions_db, captions)
    people.own(people.videos.uploaded(display_path="newer.mp4"))
    text = client.get("/pages/videos").text
    assert "1 doubtful" in text and text.index("holiday.mp4") < text.index("newer.mp4")


def test_the_list_finds_by_name(client: TestClient, people: People):
    people.own(people.videos.uploaded(display_path="harbour.mp4"))
    people.own(people.videos.uploaded(display_path="talk.mp4"))
    text = client.get("/pages/videos", params={"q": "HARB"}).text
    assert "harbour.mp4" in text and "talk.mp4" not in text
    assert "No video has this" in client.get("/pages/videos", params={"q": "zzz"}).text
