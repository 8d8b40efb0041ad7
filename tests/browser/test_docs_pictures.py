"""Pictures of the documentation that no other test makes."""

from __future__ import annotations

import base64
from html import escape

import pytest

from tests.browser.review_pages import ReviewService
from tests.browser.screen import Screen

pytestmark = pytest.mark.browser

_WORDS = "Far out, the last boat turns for home"
#: A full frame that shows it.
_INDEX = 60
_PAGE = """
<style>
  body {{ margin: 0; background: #1b1f27; }}
  div {{ display: inline-flex; vertical-align: top; }}
  img {{ width: 544px; height: 306px; display: block; }}
  pre {{ margin: 0; padding: 22px 26px; color: #8b93a1; font: 14px/1.55 monospace; align-self: center; }}
  mark {{ background: none; color: #fff; }}
</style>
<div id="both"><img src="data:image/jpeg;base64,{frame}"><pre>{text}</pre></div>
"""


def test_a_frame_beside_its_caption(service: ReviewService):
    """The picture that the first page begins with: a frame with its caption, and the subtitle file."""
    keys = service.line.keys(service.video.video_id)
    frame = base64.b64encode(service.line.store.get(keys.full_frame(_INDEX))).decode()
    cues = service.line.store.get(keys.srt).decode().split("\n\n")
    (number,) = [number for number, cue in enumerate(cues) if _WORDS in cue]
    start, end = cues[number].splitlines()[1].split(" --> ")
    assert start < "00:00:06,000" < end
    shown = [escape(cue) for cue in cues[number - 1 : number + 2]]
    shown[1] = f"<mark>{shown[1]}</mark>"
    reviewer = service.reviewer()
    page = reviewer.screen.page
    page.set_content(_PAGE.format(frame=frame, text="\n\n".join(shown)))
    page.wait_for_function("document.querySelector('img').naturalWidth > 0")
    Screen(page, service.address).shot(
        "frame-and-caption", docs="frame-and-caption", of=page.locator("#both")
    )
