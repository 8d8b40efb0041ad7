"""The pages: all videos, one video's layout, and its captions. Their scripts ask the API for the rest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.responses import HTMLResponse

from captionacc_dagster import __version__
from captionacc_dagster.web.service.callers import CurrentSession, Session
from captionacc_dagster.web.service.desks import CallersVideo
from captionacc_dagster.web.service.pages.videos_view import (
    MOST_VIDEOS,
    ReviewCounts,
    by_what_is_left,
    video_view,
)
from captionacc_dagster.web.service.parts import Parts, ServiceParts

_HERE = Path(__file__).parent
#: Files that are served under ``/static``.
STATIC = _HERE / "static"
router = APIRouter(include_in_schema=False)

_Search = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]
_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=select_autoescape(),
    trim_blocks=True,
    lstrip_blocks=True,
)
#: Fetched together, before the first one names the others.
_MODULES = [
    "events.js",
    "progress.js",
    *sorted(f"captions/{path.name}" for path in (STATIC / "captions").glob("*.js") if path.name != "main.js"),
]
_FORMATS = (
    ("srt", "SubRip (.srt)"),
    ("vtt", "WebVTT (.vtt)"),
    ("ass", "SubStation (.ass)"),
    ("json", "JSON (.json)"),
)
#: What the keys of the captions' page do.
_KEYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Confirm, and go to the next to review", ("Enter",)),
    ("New line in the text", ("Shift Enter",)),
    ("Finish the review, when nothing is left", ("Ctrl Enter",)),
    ("Caption before, after", ("PgUp", "PgDn", "Alt ↑", "Alt ↓")),
    ("Start one source frame earlier, later", ("Alt Q", "Alt W")),
    ("End one source frame earlier, later", ("Alt A", "Alt S")),
    ("The same by 0.1 s", ("Shift Alt Q", "Shift Alt W", "Shift Alt A", "Shift Alt S")),
    ("Start here, end here: where the player stands", ("Alt [", "Alt ]")),
    ("Split at the cursor", ("Alt X",)),
    ("Merge with the next", ("Alt J",)),
    ("Remove", ("Alt Del",)),
    ("Undo, redo", ("Ctrl Z", "Ctrl Y")),
    ("Find and replace", ("Ctrl F",)),
    ("Play or pause; a tenth of a second back, forward", ("Alt P", "Alt K", "Alt L")),
    ("Add a caption where the player stands", ("Alt N",)),
    ("Take what OCR read", ("Alt O",)),
    ("In a conflict: take theirs, keep yours", ("Alt T", "Alt M")),
    ("These keys", ("Alt H", "?")),
)


def rendered(template: str, **values: Any) -> HTMLResponse:
    """Return a page. Values are escaped."""
    facts: Mapping[str, Any] = {"version": __version__, **values}
    return HTMLResponse(_templates.get_template(template).render(facts))


@router.get("/review/{video_id}/captions")
def captions_page(video: CallersVideo) -> HTMLResponse:
    """Show the page where captions are corrected."""
    return rendered(
        "captions.html",
        video_id=video.video_id,
        name=video.display_path,
        formats=_FORMATS,
        keys=_KEYS,
        modules=_MODULES,
    )


@router.get("/review/{video_id}/layout")
def layout_page(video: CallersVideo) -> HTMLResponse:
    """Show the page where zones are set and approved."""
    return rendered("layout.html", video_id=video.video_id, name=video.display_path)


@router.get("/")
def videos_page(request: Request, parts: Parts, session: CurrentSession, q: _Search = "") -> HTMLResponse:
    """Show all videos."""
    return rendered("videos.html", **_videos(request, parts, session, q))


@router.get("/pages/videos")
def videos_list(request: Request, parts: Parts, session: CurrentSession, q: _Search = "") -> HTMLResponse:
    """Return the list of the videos' page, for htmx."""
    return rendered("videos_list.html", **_videos(request, parts, session, q))


def _videos(request: Request, parts: ServiceParts, session: Session, q: str) -> dict[str, Any]:
    """Return the newest videos, or those that ``q`` finds: those with doubtful captions first."""
    caller, catalog = session.caller, session.catalog
    tenant = None if caller.is_operator else caller.tenant_id
    if q.strip():
        rows = catalog.search_videos(q.strip(), tenant_id=tenant, limit=MOST_VIDEOS)
    else:
        rows = catalog.list_videos(MOST_VIDEOS, tenant_id=tenant)
    state = request.app.state
    if not hasattr(state, "review_counts"):
        state.review_counts = ReviewCounts()
    views = [video_view(row, state.review_counts.of(parts, row)) for row in rows]
    return {"videos": by_what_is_left(views), "q": q, "more": len(rows) == MOST_VIDEOS}
