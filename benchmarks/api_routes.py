"""The requests of the clients of ``benchmarks.api``: every operation of the OpenAPI document.

A cycle is one or more requests that leave the video as they found it, or take the next one. All clients
repeat it; each request is counted for its own route.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.api_catalogue import READ, Member

FILE = b"0" * 1000
_SRT = "1\n00:00:01,000 --> 00:00:01,500\nCaption number {}.\n\n2\n00:00:03,000 --> 00:00:03,900\nAnother.\n"


class Exhausted(Exception):
    """No video is left that the cycle can be run on."""


@dataclass
class Noted:
    """Seconds of each route's requests, also of those that failed, and their errors."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


class Caller:
    """One client: a signed-in user, or with no token this machine's operator."""

    def __init__(
        self, session: aiohttp.ClientSession, address: str, member: Member, token: str | None, noted: Noted
    ) -> None:
        self._session, self._address, self._noted = session, address, noted
        self.member, self.token = member, token
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._left = {kind: iter(videos) for kind, videos in member.videos.items()}
        self.turn = itertools.count()
        #: Uploads that are registered, and those whose file is sent.
        self.registered: list[str] = []
        self.sent: list[str] = []
        self.jobs: list[str] = []
        self.versions: dict[int, str] = {}

    @property
    def edited(self) -> str:
        """The video that this client edits."""
        return self.member.videos["edited"][0]

    def any_read(self) -> str:
        """Return one of the client's videos, another one each time."""
        videos = self.member.videos[READ]
        return videos[next(self.turn) % len(videos)]

    def next(self, kind: str) -> str:
        """Return the next video of a kind. Raises :class:`Exhausted`."""
        for video in self._left[kind]:
            return video
        raise Exhausted

    async def call(
        self, route: str, path: str, *, sent: Any = None, data: bytes | None = None, token: bool = True
    ) -> Any:
        """Send a request of a route such as ``GET /videos``, and return its answer: JSON, or bytes."""
        method, _, _ = route.partition(" ")
        kind = {"content-type": "application/octet-stream"} if data is not None else {}
        began = time.perf_counter()
        try:
            async with self._session.request(
                method,
                self._address + path,
                json=sent,
                data=data,
                headers={**(self._headers if token else {}), **kind},
            ) as answer:
                body = await answer.read()
                found = await answer.json() if answer.content_type == "application/json" and body else body
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            self._noted.errors[route].append(f"{type(error).__name__}: {error}")
            return None
        finally:
            self._noted.seconds[route].append(time.perf_counter() - began)
        if status >= 400:
            self._noted.errors[route].append(f"{status} {body[:200].decode(errors='replace')}")
            return None
        return found

    async def hear(self, route: str, path: str) -> None:
        """Open a stream of events, and close it after the first one."""
        began = time.perf_counter()
        async with self._session.get(self._address + path, headers=self._headers) as answer:
            async for line in answer.content:
                if line.startswith(b"event: ready"):
                    break
            else:
                self._noted.errors[route].append(f"{answer.status}: no event")
        self._noted.seconds[route].append(time.perf_counter() - began)

    async def version(self, number: int) -> dict[str, Any]:
        """Return the name of a caption of :attr:`edited` with its version."""
        if number not in self.versions:
            self.take(await self.call("GET /videos/{video_id}/captions", f"/videos/{self.edited}/captions"))
        return {"id": number, "version": self.versions[number]}

    def take(self, answer: Any) -> None:
        """Take the versions of a list or of an edit's answer."""
        for row in (answer or {}).get("captions") or (answer or {}).get("changed") or ():
            self.versions[row["id"]] = row["version"]


Cycle = Callable[[Caller], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A cycle; ``most``: how often each client runs it at most (``None``: as long as the time lasts)."""

    cycle: Cycle
    most: int | None = None


def reading(route: str, path: Callable[[Caller], str]) -> Scenario:
    """Return the scenario of one request that changes nothing."""

    async def cycle(caller: Caller) -> None:
        await caller.call(route, path(caller))

    return Scenario(cycle)


async def rename(caller: Caller) -> None:
    name = f"recording {next(caller.turn)} again.mp4"
    await caller.call("PATCH /videos/{video_id}", f"/videos/{caller.any_read()}", sent={"name": name})


async def register(caller: Caller) -> None:
    new = {"name": "a.mp4", "size": len(FILE), "type": "video/mp4"}
    if answer := await caller.call("POST /videos", "/videos", sent=new):
        caller.registered.append(answer["video_id"])


async def send(caller: Caller) -> None:
    if not caller.registered:
        raise Exhausted
    video = caller.registered.pop()
    await caller.call("PUT /videos/{video_id}/content", f"/videos/{video}/content", data=FILE)
    caller.sent.append(video)


async def confirm(caller: Caller) -> None:
    if not caller.sent:
        raise Exhausted
    await caller.call("POST /videos/{video_id}/confirm", f"/videos/{caller.sent.pop()}/confirm")


async def delete(caller: Caller) -> None:
    # From the end, so that videos of other routes stay.
    videos = caller.member.videos[READ]
    place = next(caller.turn) % (len(videos) // 2)
    await caller.call("DELETE /videos/{video_id}", f"/videos/{videos[len(videos) // 2 + place]}")


async def approve(caller: Caller) -> None:
    region = {"crop_left": 0.1, "crop_top": 0.8, "crop_right": 0.9, "crop_bottom": 0.95}
    path = f"/videos/{caller.next('proposed')}/actions/approve-layout"
    await caller.call("POST /videos/{video_id}/actions/approve-layout", path, sent={"crop_region": region})


async def request_ocr(caller: Caller) -> None:
    path = f"/videos/{caller.edited}/captions/{1 + next(caller.turn) % 30}/request-ocr"
    await caller.call("POST /videos/{video_id}/captions/{caption_id}/request-ocr", path)


async def retry_and_cancel(caller: Caller) -> None:
    video = caller.next("failed")
    for action in ("retry", "cancel"):
        route = f"POST /videos/{{video_id}}/actions/{action}/{{stage}}"
        await caller.call(route, f"/videos/{video}/actions/{action}/layout")


async def complete_review(caller: Caller) -> None:
    route = "POST /videos/{video_id}/actions/complete-review/{stage}"
    await caller.call(route, f"/videos/{caller.any_read()}/actions/complete-review/text")


async def label(caller: Caller) -> None:
    wanted = "in" if next(caller.turn) % 2 else "out"
    labels = {"labels": [{"frame_index": 0, "box_index": 0, "label": wanted}]}
    path = f"/videos/{caller.edited}/layout/labels"
    await caller.call("POST /videos/{video_id}/layout/labels", path, sent=labels)


async def set_text(caller: Caller) -> None:
    asked = await caller.version(2)
    sent = {"version": asked["version"], "text": f"Text {next(caller.turn)}."}
    route, path = "PUT /videos/{video_id}/captions/{caption_id}", f"/videos/{caller.edited}/captions/2"
    caller.take(await caller.call(route, path, sent=sent))


async def confirm_caption(caller: Caller) -> None:
    number = 3 + next(caller.turn) % 20
    asked = await caller.version(number)
    route = "POST /videos/{video_id}/captions/{caption_id}/confirm"
    path = f"/videos/{caller.edited}/captions/{number}/confirm"
    caller.take(await caller.call(route, path, sent={"version": asked["version"]}))


async def remove_and_restore(caller: Caller) -> None:
    number = 4
    base = f"/videos/{caller.edited}/captions/{number}"
    asked = await caller.version(number)
    removed = "DELETE /videos/{video_id}/captions/{caption_id}"
    caller.take(await caller.call(removed, f"{base}?version={asked['version']}"))
    asked = await caller.version(number)
    sent = {"version": asked["version"], "text": "Back again."}
    restored = "POST /videos/{video_id}/captions/{caption_id}/restore"
    caller.take(await caller.call(restored, f"{base}/restore", sent=sent))


async def split_and_merge(caller: Caller) -> None:
    base, number = f"/videos/{caller.edited}/captions", 5
    sent = {
        "version": (await caller.version(number))["version"],
        "at_seconds": 5.25,
        "texts": ["Five", "again."],
    }
    split = "POST /videos/{video_id}/captions/{caption_id}/split"
    answer = await caller.call(split, f"{base}/{number}/split", sent=sent)
    if not answer:
        caller.versions.clear()
        return
    caller.take(answer)
    parts = [row["id"] for row in answer["changed"]]
    both = [await caller.version(part) for part in sorted(parts)]
    merged = {"captions": both, "text": "Five again."}
    caller.take(await caller.call("POST /videos/{video_id}/captions/merge", f"{base}/merge", sent=merged))


async def add(caller: Caller) -> None:
    base = f"/videos/{caller.edited}/captions"
    new = {"start_seconds": 6.6, "end_seconds": 6.9, "text": "One more."}
    answer = await caller.call("POST /videos/{video_id}/captions", base, sent=new)
    for row in (answer or {}).get("changed", ()):
        # The edit that takes it away again is counted for its own route.
        sent = {"key": "1", "captions": [{"id": row["id"], "version": row["version"]}], "wanted": []}
        await caller.call("POST /videos/{video_id}/captions/edits", f"{base}/edits", sent={"edits": [sent]})


async def import_file(caller: Caller) -> None:
    data = _SRT.format(next(caller.turn)).encode()
    path = f"/videos/{caller.edited}/import?filename=corrected.srt&dry_run=true"
    await caller.call("POST /videos/{video_id}/import", path, data=data)


async def job(caller: Caller) -> None:
    new = {"type": "layout", "video_id": caller.next("new")}
    if answer := await caller.call("POST /jobs", "/jobs", sent=new):
        caller.jobs.append(answer["job_id"])


async def cancel_job(caller: Caller) -> None:
    if not caller.jobs:
        raise Exhausted
    await caller.call("DELETE /jobs/{job_id}", f"/jobs/{caller.jobs.pop()}")


async def session(caller: Caller) -> None:
    if caller.token:
        await caller.call("POST /session", "/session", sent={"token": caller.token}, token=False)
    await caller.call("DELETE /session", "/session")


async def events(caller: Caller) -> None:
    await caller.hear("GET /events", "/events")


def scenarios() -> Iterator[Scenario]:
    """Yield the scenarios, in an order in which each finds what it needs."""
    video, edited = "/videos/{video_id}", lambda caller: f"/videos/{caller.edited}"

    def span(caller: Caller) -> str:
        # A caption of one and a half seconds.
        start = next(caller.turn) * 7 % 300
        return f"from={start}&to={start + 15}"

    yield reading("GET /livez", lambda caller: "/livez")
    yield reading("GET /healthz", lambda caller: "/healthz")
    yield reading("GET /session", lambda caller: "/session")
    yield Scenario(session)
    yield reading("GET /videos", lambda caller: "/videos?limit=50")
    yield reading("GET /videos?q=", lambda caller: "/videos?limit=50&q=recording 49")
    yield reading(f"GET {video}", lambda caller: f"/videos/{caller.any_read()}")
    yield Scenario(rename)
    yield reading(f"GET {video}/layout", lambda caller: f"{edited(caller)}/layout")
    yield reading(f"GET {video}/full-frames/{{index}}.jpg", lambda c: f"{edited(c)}/full-frames/0.jpg")
    yield Scenario(label)
    yield reading(
        f"GET {video}/frames/{{index}}.webp", lambda c: f"{edited(c)}/frames/{next(c.turn) % 320}.webp"
    )
    yield reading(f"GET {video}/strips", lambda c: f"{edited(c)}/strips?{span(c)}")
    yield reading(f"GET {video}/captions", lambda c: f"{edited(c)}/captions")
    yield Scenario(set_text)
    yield Scenario(confirm_caption)
    yield Scenario(remove_and_restore)
    yield Scenario(split_and_merge)
    yield Scenario(add)
    yield reading(f"GET {video}/export.{{format}}", lambda c: f"{edited(c)}/export.srt")
    yield Scenario(import_file)
    yield Scenario(request_ocr, most=10)
    yield Scenario(complete_review)
    yield Scenario(job, most=5)
    yield reading("GET /jobs", lambda caller: "/jobs")
    yield reading("GET /jobs/{job_id}", lambda caller: f"/jobs/{caller.jobs[0]}")
    yield Scenario(cancel_job)
    yield Scenario(events)
    yield Scenario(register, most=20)
    yield Scenario(send)
    yield Scenario(confirm, most=5)
    yield Scenario(approve, most=5)
    yield Scenario(retry_and_cancel, most=5)
    yield Scenario(delete)
