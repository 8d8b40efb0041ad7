"""The situations: one function a clip, each with what it is about."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from benchmarks.situations import texts
from benchmarks.situations.model import (
    BOTTOM,
    TOP,
    WHITE,
    Drawn,
    Expected,
    Look,
    Place,
    Shot,
    Situation,
    as_captions,
)

_STREET = "car-detection.mp4"
_BUNNY = "big_buck_bunny_0_30.webm"
_BIKES = "bikes.mp4"
_CHAPLIN = "chaplin.mp4"
_COCKATOO = "cockatoo_yuv420.mp4"
_WALKERS = "one-by-one-person-detection.mp4"
_FILES = (_BUNNY, _BIKES, _STREET, _COCKATOO, _WALKERS, _CHAPLIN)

#: Builds one situation.
Scene = Callable[[], Situation]
_scenes: dict[str, Scene] = {}


def scenes() -> dict[str, Scene]:
    """Return every situation's function by its name."""
    return dict(_scenes)


def _scene(function: Scene) -> Scene:
    _scenes[function.__name__] = function
    return function


def _cuts(*times: float, first: int = 0) -> list[Shot]:
    """Return shots that begin at 0 and at ``times``, from one file after the other."""
    return [Shot(start, _FILES[(first + k) % len(_FILES)], 0.4 * k) for k, start in enumerate((0.0, *times))]


def _every(seconds: float, until: float, first: int = 0) -> list[Shot]:
    return _cuts(*(seconds * k for k in range(1, int(until / seconds))), first=first)


def _series(
    lines: Sequence[str],
    *,
    start: float = 1.0,
    seconds: float = 2.0,
    gap: float = 0.4,
    rate: int = 25,
    place: Place = BOTTOM,
    look: Look = WHITE,
    fade: float = 0.0,
) -> list[Drawn]:
    """Put one line after the other, on frame boundaries; lengths vary by a third around ``seconds``."""
    drawn, at = [], start
    for number, line in enumerate(lines):
        long = seconds * (2 / 3 + (number * 5 % 7) / 9)
        begin, end = round(at * rate) / rate, round((at + long) * rate) / rate
        drawn.append(Drawn(begin, end, line, place, look, fade))
        at = end + gap
    return drawn


def _ending(drawn: Sequence[Drawn]) -> float:
    return max(one.end for one in drawn) + 1.0


def _plain(name: str, drawn: Sequence[Drawn], *, first: int = 0, **more: object) -> Situation:
    """Return a situation in which each drawn text is a caption, with a cut about every seven seconds."""
    seconds = _ending(drawn)
    return Situation(
        name,
        drawn,
        as_captions(drawn),
        seconds,
        _every(7.3, seconds, first),
        **more,  # type: ignore[arg-type]
    )


@_scene
def two_places() -> Situation:
    """Captions at the bottom; beside them, and sometimes at the same time, others at the top."""
    below = _series(texts.ENGLISH, seconds=2.2, gap=0.6)
    above = _series(texts.GERMAN, start=2.4, seconds=2.6, gap=2.2, place=TOP, look=Look(fill=(255, 232, 120)))
    drawn = [*below, *above]
    expected = [*as_captions(below), *as_captions(above, zone=1)]
    return Situation("two_places", drawn, expected, _ending(drawn), _every(6.7, _ending(drawn)))


@_scene
def signs_and_translation() -> Situation:
    """Captions at the bottom, signs in the picture, and their translation at the upper left."""
    below = _series(texts.ENGLISH[:9], seconds=2.3, gap=0.5)
    seconds = _ending(below)
    corner, sign = Place(0.2, "left", 0.06), Look(0.075, (240, 240, 235), (20, 60, 30), 0.0, 0.0, "cjk")
    names = (("出口", "(Exit)"), ("駅前通り", "(Station Road)"), ("本屋", "(Bookshop)"))
    signs, translations = [], []
    for number, (name, meaning) in enumerate(names):
        start = 3.0 + 7.0 * number
        signs.append(Drawn(start, start + 2.8, name, Place(0.5, "left", 0.62 - 0.12 * number), sign))
        translations.append(Drawn(start, start + 2.8, meaning, corner, Look(0.055, (150, 230, 255))))
    expected = [*as_captions(below), *as_captions(translations, zone=1)]
    return Situation(
        "signs_and_translation", [*below, *signs, *translations], expected, seconds, _every(7.0, seconds, 1)
    )


@_scene
def whole_picture_is_the_strip() -> Situation:
    """A file that was cropped to its caption line, 1120 × 90 pixels."""
    place, look = Place(baseline=0.68), Look(size=0.42, outline=0.08)
    drawn = _series(texts.ENGLISH, place=place, look=look)
    return _plain("whole_picture_is_the_strip", drawn, size=(1120, 90))


@_scene
def tall() -> Situation:
    """Short captions as tall as a fifth of the frame."""
    lines = ("STOP HERE", "LOOK UP", "TURN LEFT", "WHO IS IT?", "NOT NOW", "RUN!", "AND AGAIN", "THE END")
    drawn = _series(lines, seconds=1.6, place=Place(0.9), look=Look(0.19, outline=0.06))
    return _plain("tall", drawn, first=1)


@_scene
def middle_third() -> Situation:
    """Captions in the middle of the picture, as on short vertical videos."""
    lines = [line.replace(" ", "\n", 3).replace("\n", " ", 2) for line in texts.ENGLISH[:9]]
    drawn = _series(lines, seconds=1.7, gap=0.3, place=Place(0.56), look=Look(0.03, outline=0.14))
    return _plain("middle_third", drawn, size=(540, 960), first=2)


@_scene
def growing_words() -> Situation:
    """Sentences that grow word by word; each is one caption, from its first word to its end."""
    drawn, expected, at = [], [], 1.0
    place = Place(anchor="left", x=0.16)
    for line in texts.ENGLISH[:8]:
        words, first = line.split(), at
        for count in range(1, len(words) + 1):
            end = at + (0.32 if count < len(words) else 1.0)
            drawn.append(Drawn(at, end, " ".join(words[:count]), place))
            at = end
        expected.append(Expected(first, at, line))
        at += 0.4
    return Situation("growing_words", drawn, expected, at + 0.6, _every(7.3, at, 3))


@_scene
def rolling_up() -> Situation:
    """Two lines that roll up: the lower one moves up when the next appears. Each line is one caption."""
    lines, drawn, expected = texts.ENGLISH[:10], [], []
    starts = [1.0 + 1.6 * k for k in range(len(lines) + 1)]
    place, look = Place(anchor="left", x=0.14), Look(box=0.85, outline=0.0)
    for number, line in enumerate(lines):
        above = f"{lines[number - 1]}\n" if number else ""
        drawn.append(Drawn(starts[number], starts[number + 1], above + line, place, look))
        expected.append(Expected(starts[number], starts[min(number + 2, len(lines))], line))
    # The last state stays a little, so that its end is like that of the others.
    return Situation("rolling_up", drawn, expected, starts[-1] + 1.5, _every(7.3, starts[-1], 4))


@_scene
def replaced_words() -> Situation:
    """One to three words at a time, 0.3 to 0.6 s each, replacing each other."""
    words, drawn, at = " ".join(texts.ENGLISH).split(), [], 1.0
    groups = [" ".join(words[k : k + 2]) for k in range(0, 72, 2)]
    for number, group in enumerate(groups):
        end = at + (0.32, 0.4, 0.52, 0.6)[number % 4]
        drawn.append(Drawn(at, end, group, look=Look(0.075, outline=0.12)))
        at = round(end, 2)
    return _plain("replaced_words", drawn, first=5)


def _of_script(name: str, lines: Sequence[str], font: str, first: int) -> Situation:
    look = Look(0.062, font=font)
    return _plain(name, _series(lines, seconds=2.1, gap=0.5, look=look), first=first)


@_scene
def russian() -> Situation:
    """Cyrillic."""
    return _of_script("russian", texts.RUSSIAN, "cjk", 0)


@_scene
def korean() -> Situation:
    """Hangul."""
    return _of_script("korean", texts.KOREAN, "cjk", 1)


@_scene
def thai() -> Situation:
    """Thai, with vowels above and below."""
    return _of_script("thai", texts.THAI, "thai", 2)


@_scene
def arabic() -> Situation:
    """Arabic, from right to left."""
    return _of_script("arabic", texts.ARABIC, "arabic", 3)


@_scene
def hindi() -> Situation:
    """Devanagari."""
    return _of_script("hindi", texts.HINDI, "devanagari", 4)


@_scene
def vietnamese() -> Situation:
    """Latin letters with two accents each."""
    return _of_script("vietnamese", texts.VIETNAMESE, "cjk", 5)


@_scene
def short_gaps() -> Situation:
    """Gaps of 200 to 320 ms over a moving picture."""
    drawn, at = [], 1.0
    for number, line in enumerate((*texts.ENGLISH, *texts.GERMAN)):
        end = at + (1.12, 1.6, 1.36)[number % 3]
        drawn.append(Drawn(at, end, line))
        at = round(end + (0.2, 0.24, 0.28, 0.32)[number % 4], 2)
    seconds = _ending(drawn)
    shots = [Shot(6.0 * k, (_BIKES, _STREET, _BUNNY)[k % 3], 0.7 * k) for k in range(int(seconds / 6) + 1)]
    return Situation("short_gaps", drawn, as_captions(drawn), seconds, shots)


@_scene
def beside_cuts() -> Situation:
    """A scene cut one to four frames beside each start and each end."""
    drawn, cuts = _series(texts.ENGLISH, seconds=1.8, gap=0.72), []
    for number, one in enumerate(drawn):
        cuts.append(one.start + (-3, 2, -1, 4, 1, -2)[number % 6] / 25)
        cuts.append(one.end + (2, -4, 1, -1, 3, -2)[number % 6] / 25)
    return Situation("beside_cuts", drawn, as_captions(drawn), _ending(drawn), _cuts(*sorted(cuts)))


@_scene
def uhd_60() -> Situation:
    """3840 × 2160 at 60 frames a second."""
    drawn = _series(texts.ENGLISH[:4], seconds=1.3, gap=0.35, rate=60)
    return _plain("uhd_60", drawn, size=(3840, 2160), rate=60, first=1)


@_scene
def music_notes() -> Situation:
    """Sung lines between music notes."""
    notes = ("♪ {} ♪", "♪ {}", "♫ {} ♫")
    lines = [notes[k % 3].format(line) for k, line in enumerate(texts.ENGLISH[:9])]
    return _plain("music_notes", _series(lines, look=Look(0.055, font="cjk")), first=2)


@_scene
def dialogues() -> Situation:
    """Two speakers, a hyphen and a space before each."""
    lines = [f"- {a}\n- {b}" for a, b in zip(texts.ENGLISH[::2], texts.ENGLISH[1::2], strict=True)]
    drawn = _series(lines, seconds=2.4, place=Place(0.92, "left", 0.2), look=Look(0.052))
    return _plain("dialogues", drawn, first=3)


@_scene
def cjk_punctuation() -> Situation:
    """Chinese with full-width commas, full stops, ellipses and exclamation marks."""
    return _plain("cjk_punctuation", _series(texts.CHINESE, look=Look(0.062, font="cjk")), first=4)


@_scene
def polish_and_spanish() -> Situation:
    """Letters and marks of two Latin alphabets."""
    look = Look(0.06, font="cjk")
    return _plain("polish_and_spanish", _series((*texts.POLISH, *texts.SPANISH), look=look), first=5)


@_scene
def credits_at_the_end() -> Situation:
    """Captions, then credits that scroll through the picture and are none."""
    drawn = _series(texts.ENGLISH[:8], seconds=2.0)
    start = _ending(drawn)
    names = (
        "Directed by\nAnna Winter",
        "Camera\nTomás Ruiz",
        "Music\nThe Trio",
        "Thanks to\nthe village",
    )
    credits = [
        Drawn(start + 1.4 * k, start + 1.4 * (k + 1), name, Place(0.55), Look(0.05, outline=0.0))
        for k, name in enumerate(names)
    ]
    seconds = _ending(credits)
    shots = [*_every(7.3, start), Shot(start - 0.4, _CHAPLIN)]
    return Situation("credits_at_the_end", [*drawn, *credits], as_captions(drawn), seconds, shots)


@_scene
def one_in_a_minute() -> Situation:
    """A single caption in a minute."""
    drawn = [Drawn(31.2, 34.04, texts.ENGLISH[4])]
    return Situation("one_in_a_minute", drawn, as_captions(drawn), 60.0, _every(8.1, 60.0, 2))


@_scene
def fades() -> Situation:
    """Fades of 0.32 s at both ends, gaps of 0.5 s."""
    return _plain("fades", _series(texts.ENGLISH[:10], seconds=2.0, gap=0.52, fade=0.32), first=3)


@_scene
def back_to_back() -> Situation:
    """No gap between captions that differ in a word or a digit."""
    verbs = ("wait", "look", "wait", "turn", "look", "stop")
    lines = [f"Step {number} of 9: {verb}." for number, verb in enumerate(verbs, 1)]
    return _plain("back_to_back", _series(lines, seconds=1.2, gap=0.0), first=4)


@_scene
def bilingual() -> Situation:
    """A line of Chinese above a smaller line of English."""
    lines = [f"{a}\n{b}" for a, b in zip(texts.CHINESE, texts.ENGLISH, strict=False)]
    return _plain("bilingual", _series(lines, seconds=2.4, look=Look(0.05, font="cjk")), first=5)


@_scene
def japanese() -> Situation:
    """Kanji and kana."""
    return _plain("japanese", _series(texts.JAPANESE, look=Look(0.062, font="cjk")), first=0)


@_scene
def karaoke() -> Situation:
    """Text that changes its colour from left to right while it is on screen."""
    sung = [
        Drawn(d.start, d.end, d.text, d.place, Look(0.06, outline=0.12), sung=(255, 190, 40))
        for d in _series(texts.ENGLISH[:8], seconds=2.4)
    ]
    return _plain("karaoke", sung, first=1)


@_scene
def left_and_right() -> Situation:
    """Captions at the left or the right, below who speaks."""
    sides = (Place(0.92, "right", 0.95), Place(0.92, "left", 0.05))
    spoken = _series(texts.ENGLISH[:10], seconds=1.8, look=Look(0.05))
    drawn = [replace(one, place=sides[number % 2]) for number, one in enumerate(spoken)]
    return _plain("left_and_right", drawn, first=2)


@_scene
def ticker_below() -> Situation:
    """Captions above a ticker that runs all the time."""
    drawn = _series(texts.ENGLISH[:10], seconds=2.0, place=Place(0.86))
    items = ("Harbour closed until Monday", "Bridge repairs go on", "Rain from the west", "")
    news = "  •  ".join(items)
    seconds = _ending(drawn)
    look = Look(0.04, (255, 255, 255), (0, 0, 0), 0.0, 0.9)
    ticker = Drawn(0.0, seconds, news * 6, Place(0.975, "left", 0.3), look, speed=110.0)
    return Situation("ticker_below", [ticker, *drawn], as_captions(drawn), seconds, _every(7.3, seconds, 3))


@_scene
def small_240p() -> Situation:
    """426 × 240 pixels, strongly compressed."""
    drawn = _series(texts.ENGLISH[:10], look=Look(0.07, outline=0.12))
    return _plain("small_240p", drawn, size=(426, 240), crf=30)


def chosen(names: Sequence[str]) -> Iterator[Situation]:
    """Make the situations of these names, all of them for none. Raises ``KeyError`` for an unknown name."""
    for name in names or _scenes:
        yield _scenes[name]()
