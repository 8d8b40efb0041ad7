"""A situation: what is drawn over which footage, and the captions that a person would write down."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Anchor = Literal["left", "center", "right"]


@dataclass(frozen=True)
class Look:
    """The style of text. Sizes are fractions of the frame's height, colours are RGB."""

    size: float = 0.06
    fill: tuple[int, int, int] = (255, 255, 255)
    edge: tuple[int, int, int] = (10, 10, 14)
    #: Width of the outline in font sizes.
    outline: float = 0.1
    #: Opacity of a dark box behind the text.
    box: float = 0.0
    #: Name of the font: ``aileron``, which Pillow carries (English only), or one of a package.
    font: str = "aileron"


@dataclass(frozen=True)
class Place:
    """The position of text: the last line's baseline and the anchor, as fractions of the frame."""

    baseline: float = 0.92
    anchor: Anchor = "center"
    x: float = 0.5


BOTTOM, TOP = Place(), Place(baseline=0.12)
WHITE = Look()


@dataclass(frozen=True)
class Drawn:
    """Text on screen in ``[start, end)`` seconds, on frame boundaries; fades take ``fade`` seconds an end."""

    start: float
    end: float
    text: str
    place: Place = BOTTOM
    look: Look = WHITE
    fade: float = 0.0
    #: Karaoke: the colour of the part that was sung, from left to right over the text's whole time.
    sung: tuple[int, int, int] | None = None
    #: Pixels a second to the left, for tickers, and upwards, for credits.
    speed: float = 0.0
    rise: float = 0.0


@dataclass(frozen=True)
class Expected:
    """A caption of the truth, in ``[start, end)`` seconds. ``zone`` counts the places that hold captions."""

    start: float
    end: float
    text: str
    zone: int = 0


@dataclass(frozen=True)
class Shot:
    """Footage from ``start`` seconds of the clip on: a file of the backgrounds, from ``offset`` seconds.

    ``pan`` moves the picture sideways and back, in frame widths a second.
    """

    start: float
    file: str
    offset: float = 0.0
    pan: float = 0.0


@dataclass(frozen=True)
class Situation:
    """The description of one clip. ``size`` is (width, height) in pixels, ``seconds`` its length."""

    name: str
    drawn: Sequence[Drawn]
    expected: Sequence[Expected]
    seconds: float
    shots: Sequence[Shot]
    size: tuple[int, int] = (960, 540)
    rate: int = 25
    #: Constant rate factor of x264: larger is worse.
    crf: int = 23
    #: Languages that ``OCR_LANGUAGE`` names (BCP-47), read by Tesseract; none by default.
    languages: tuple[str, ...] = ()


def as_captions(drawn: Sequence[Drawn], zone: int = 0) -> list[Expected]:
    """Return the truth where each drawn text is a caption of its own."""
    return [Expected(one.start, one.end, one.text, zone) for one in drawn]


def beginning(situation: Situation, captions: int) -> Situation:
    """Return the part of a situation with its first captions and a second after them."""
    expected = sorted(situation.expected, key=lambda one: one.start)[:captions]
    seconds = max(one.end for one in expected) + 1.0
    drawn = [one for one in situation.drawn if one.start < seconds - 1.0]
    return replace(situation, expected=expected, seconds=seconds, drawn=drawn)
