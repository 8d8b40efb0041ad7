"""The situations: one function a clip, each with what it is about."""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.situations import texts
from benchmarks.situations.building import (
    CHAPLIN,
    WALKERS,
    ending,
    every,
    plain,
    scene,
    series,
)
from benchmarks.situations.model import (
    TOP,
    Drawn,
    Expected,
    Look,
    Place,
    Shot,
    Situation,
    as_captions,
)


@scene
def two_places() -> Situation:
    """Captions at the bottom; beside them, and sometimes at the same time, others at the top."""
    below = series(texts.ENGLISH, seconds=2.2, gap=0.6)
    above = series(
        texts.GERMAN,
        start=2.4,
        seconds=2.6,
        gap=2.2,
        place=TOP,
        look=Look(fill=(255, 232, 120), font="latin"),
    )
    drawn = [*below, *above]
    expected = [*as_captions(below), *as_captions(above, zone=1)]
    return Situation("two_places", drawn, expected, ending(drawn), every(6.7, ending(drawn)))


@scene
def signs_and_translation() -> Situation:
    """Captions at the bottom, signs in the picture, and their translation at the upper left."""
    below = series(texts.ENGLISH[:9], seconds=2.3, gap=0.5)
    seconds = ending(below)
    corner, sign = Place(0.2, "left", 0.06), Look(0.075, (240, 240, 235), (20, 60, 30), 0.0, 0.0, "cjk")
    names = (("出口", "(Exit)"), ("駅前通り", "(Station Road)"), ("本屋", "(Bookshop)"))
    signs, translations = [], []
    for number, (name, meaning) in enumerate(names):
        start = 3.0 + 7.0 * number
        signs.append(Drawn(start, start + 2.8, name, Place(0.5, "left", 0.62 - 0.12 * number), sign))
        translations.append(Drawn(start, start + 2.8, meaning, corner, Look(0.055, (150, 230, 255))))
    expected = [*as_captions(below), *as_captions(translations, zone=1)]
    return Situation(
        "signs_and_translation", [*below, *signs, *translations], expected, seconds, every(7.0, seconds, 1)
    )


@scene
def whole_picture_is_the_strip() -> Situation:
    """A file that was cropped to its caption line, 1120 × 90 pixels."""
    place, look = Place(baseline=0.68), Look(size=0.42, outline=0.08)
    drawn = series(texts.ENGLISH, place=place, look=look)
    return plain("whole_picture_is_the_strip", drawn, size=(1120, 90))


@scene
def tall() -> Situation:
    """Short captions as tall as a fifth of the frame."""
    lines = ("STOP HERE", "LOOK UP", "TURN LEFT", "WHO IS IT?", "NOT NOW", "RUN!", "AND AGAIN", "THE END")
    drawn = series(lines, seconds=1.6, place=Place(0.9), look=Look(0.19, outline=0.06))
    return plain("tall", drawn, first=1)


@scene
def middle_third() -> Situation:
    """Captions in the middle of the picture, as on short vertical videos."""
    lines = [line.replace(" ", "\n", 3).replace("\n", " ", 2) for line in texts.ENGLISH[:9]]
    drawn = series(lines, seconds=1.7, gap=0.3, place=Place(0.56), look=Look(0.03, outline=0.14))
    return plain("middle_third", drawn, size=(540, 960), first=2)


@scene
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
    return Situation("growing_words", drawn, expected, at + 0.6, every(7.3, at, 3))


@scene
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
    return Situation("rolling_up", drawn, expected, starts[-1] + 1.5, every(7.3, starts[-1], 4))


@scene
def replaced_words() -> Situation:
    """One to three words at a time, 0.3 to 0.6 s each, replacing each other."""
    words, drawn, at = " ".join(texts.ENGLISH).split(), [], 1.0
    groups = [" ".join(words[k : k + 2]) for k in range(0, 72, 2)]
    for number, group in enumerate(groups):
        end = at + (0.32, 0.4, 0.52, 0.6)[number % 4]
        drawn.append(Drawn(at, end, group, look=Look(0.075, outline=0.12)))
        at = round(end, 2)
    return plain("replaced_words", drawn, first=5)


def _of_script(name: str, lines: Sequence[str], font: str, first: int, language: str) -> Situation:
    look = Look(0.062, font=font)
    return plain(name, series(lines, seconds=2.1, gap=0.5, look=look), first=first, languages=(language,))


@scene
def russian() -> Situation:
    """Cyrillic."""
    return _of_script("russian", texts.RUSSIAN, "cjk", 0, "ru")


@scene
def korean() -> Situation:
    """Hangul."""
    return _of_script("korean", texts.KOREAN, "cjk", 1, "ko")


@scene
def thai() -> Situation:
    """Thai, with vowels above and below."""
    return _of_script("thai", texts.THAI, "thai", 2, "th")


@scene
def arabic() -> Situation:
    """Arabic, from right to left."""
    return _of_script("arabic", texts.ARABIC, "arabic", 3, "ar")


@scene
def hindi() -> Situation:
    """Devanagari."""
    return _of_script("hindi", texts.HINDI, "devanagari", 4, "hi")


@scene
def vietnamese() -> Situation:
    """Latin letters with two accents each."""
    return _of_script("vietnamese", texts.VIETNAMESE, "cjk", 5, "vi")


@scene
def music_notes() -> Situation:
    """Sung lines between music notes."""
    notes = ("♪ {} ♪", "♪ {}", "♫ {} ♫")
    lines = [notes[k % 3].format(line) for k, line in enumerate(texts.ENGLISH[:9])]
    return plain("music_notes", series(lines, look=Look(0.055, font="cjk")), first=2)


@scene
def dialogues() -> Situation:
    """Two speakers, a hyphen and a space before each."""
    lines = [f"- {a}\n- {b}" for a, b in zip(texts.ENGLISH[::2], texts.ENGLISH[1::2], strict=True)]
    drawn = series(lines, seconds=2.4, place=Place(0.92, "left", 0.2), look=Look(0.052))
    return plain("dialogues", drawn, first=3)


@scene
def cjk_punctuation() -> Situation:
    """Chinese with full-width commas, full stops, ellipses and exclamation marks."""
    return plain("cjk_punctuation", series(texts.CHINESE, look=Look(0.062, font="cjk")), first=4)


@scene
def polish_and_spanish() -> Situation:
    """Letters and marks of two Latin alphabets."""
    look = Look(0.06, font="latin")
    drawn = series((*texts.POLISH, *texts.SPANISH), look=look)
    return plain("polish_and_spanish", drawn, first=5)


@scene
def credits_at_the_end() -> Situation:
    """Captions, then credits that scroll through the picture and are none."""
    drawn = series(texts.ENGLISH[:8], seconds=2.0)
    start = ending(drawn)
    names = (
        "Directed by\nAnna Winter",
        "Camera\nTomás Ruiz",
        "Music\nThe Trio",
        "Thanks to\nthe village",
    )
    look = Look(0.05, outline=0.0, font="latin")
    credits = [
        Drawn(start + 1.4 * k, start + 1.4 * (k + 1), name, Place(0.55), look) for k, name in enumerate(names)
    ]
    seconds = ending(credits)
    shots = [*every(7.3, start), Shot(start - 0.4, CHAPLIN)]
    return Situation("credits_at_the_end", [*drawn, *credits], as_captions(drawn), seconds, shots)


@scene
def rolling_credits() -> Situation:
    """Captions, then credits that roll up through the whole picture and are none."""
    drawn = series(texts.ENGLISH[:8], seconds=2.0)
    start = ending(drawn)
    names = (
        "Director  Anna Winter",
        "Camera  Tomás Ruiz",
        "Music  The Trio",
        "Sound  Ilse Brandt",
        "Editor  Max Orlow",
    )
    place, look = Place(1.06), Look(0.05, outline=0.0, font="latin")
    credits = [
        Drawn(start + 1.2 * k, start + 1.2 * k + 9.0, name, place, look, rise=70.0)
        for k, name in enumerate(names * 2)
    ]
    shots = [*every(7.3, start), Shot(start - 0.4, WALKERS, 2.0)]
    seconds = ending(credits)
    return Situation("rolling_credits", [*drawn, *credits], as_captions(drawn), seconds, shots)


@scene
def watermark() -> Situation:
    """A name beside the captions all the time, and a logo at the upper right."""
    drawn = series(texts.ENGLISH[:10], seconds=2.0, gap=0.6, look=Look(0.05))
    seconds = ending(drawn)
    grey, red = Look(0.035, (170, 170, 170), outline=0.0), Look(0.06, (200, 60, 60))
    mark = Drawn(0.0, seconds, "clips.example", Place(0.92, "right", 0.985), grey)
    logo = Drawn(0.0, seconds, "CH7", Place(0.11, "right", 0.97), red)
    return Situation("watermark", [mark, logo, *drawn], as_captions(drawn), seconds, every(7.3, seconds, 2))


@scene
def one_in_a_minute() -> Situation:
    """A single caption in a minute."""
    drawn = [Drawn(31.2, 34.04, texts.ENGLISH[4])]
    return Situation("one_in_a_minute", drawn, as_captions(drawn), 60.0, every(8.1, 60.0, 2))


@scene
def bilingual() -> Situation:
    """A line of Chinese above a smaller line of English."""
    lines = [f"{a}\n{b}" for a, b in zip(texts.CHINESE, texts.ENGLISH, strict=False)]
    return plain("bilingual", series(lines, seconds=2.4, look=Look(0.05, font="cjk")), first=5)


@scene
def japanese() -> Situation:
    """Kanji and kana."""
    return plain("japanese", series(texts.JAPANESE, look=Look(0.062, font="cjk")), first=0)


@scene
def karaoke() -> Situation:
    """Text that changes its colour from left to right while it is on screen."""
    sung = [
        Drawn(d.start, d.end, d.text, d.place, Look(0.06, outline=0.12), sung=(255, 190, 40))
        for d in series(texts.ENGLISH[:8], seconds=2.4)
    ]
    return plain("karaoke", sung, first=1)


@scene
def left_and_right() -> Situation:
    """Captions at the left or the right, below who speaks."""
    sides = (Place(0.92, "right", 0.95), Place(0.92, "left", 0.05))
    spoken = series(texts.ENGLISH[:10], seconds=1.8, look=Look(0.05))
    drawn = [replace(one, place=sides[number % 2]) for number, one in enumerate(spoken)]
    return plain("left_and_right", drawn, first=2)


@scene
def ticker_below() -> Situation:
    """Captions above a ticker that runs all the time."""
    drawn = series(texts.ENGLISH[:10], seconds=2.0, place=Place(0.86))
    items = ("Harbour closed until Monday", "Bridge repairs go on", "Rain from the west", "")
    news = "  •  ".join(items)
    seconds = ending(drawn)
    look = Look(0.04, (255, 255, 255), (0, 0, 0), 0.0, 0.9, "latin")
    ticker = Drawn(0.0, seconds, news * 6, Place(0.975, "left", 0.3), look, speed=110.0)
    return Situation("ticker_below", [ticker, *drawn], as_captions(drawn), seconds, every(7.3, seconds, 3))


@scene
def small_240p() -> Situation:
    """426 × 240 pixels, strongly compressed."""
    drawn = series(texts.ENGLISH[:10], look=Look(0.07, outline=0.12))
    return plain("small_240p", drawn, size=(426, 240), crf=30)
