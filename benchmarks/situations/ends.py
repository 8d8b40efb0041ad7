"""Situations about the ends of captions: short gaps, cuts, fades, high frame rates."""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.situations import texts
from benchmarks.situations.building import (
    BIKES,
    BUNNY,
    CARPHONE,
    CHAPLIN,
    COCKATOO,
    PHOTO,
    STREET,
    cuts,
    ending,
    plain,
    scene,
    series,
)
from benchmarks.situations.model import BOTTOM, WHITE, Drawn, Look, Place, Shot, Situation, as_captions


@scene
def short_gaps() -> Situation:
    """Gaps of 200 to 320 ms over a moving picture."""
    drawn, at = [], 1.0
    for number, line in enumerate((*texts.ENGLISH, *texts.GERMAN)):
        end = at + (1.12, 1.6, 1.36)[number % 3]
        drawn.append(Drawn(at, end, line, look=Look(font="latin")))
        at = round(end + (0.2, 0.24, 0.28, 0.32)[number % 4], 2)
    seconds = ending(drawn)
    shots = [Shot(6.0 * k, (BIKES, STREET, BUNNY)[k % 3], 0.7 * k) for k in range(int(seconds / 6) + 1)]
    return Situation("short_gaps", drawn, as_captions(drawn), seconds, shots)


def _apart(
    lines: Sequence[str],
    lengths: Sequence[int],
    gaps: Sequence[int],
    rate: int = 25,
    look: Look = WHITE,
    place: Place = BOTTOM,
) -> list[Drawn]:
    """Put one line after the other; lengths and gaps are in frames and repeat."""
    drawn, at = [], rate
    for number, line in enumerate(lines):
        end = at + lengths[number % len(lengths)]
        drawn.append(Drawn(at / rate, end / rate, line, place, look))
        at = end + gaps[number % len(gaps)]
    return drawn


def _over(name: str, drawn: Sequence[Drawn], shots: Sequence[Shot], each: float, **more: object) -> Situation:
    """Return a situation whose shots last ``each`` seconds and repeat, a little later in their footage."""
    seconds = ending(drawn)
    turns = [
        replace(shots[k % len(shots)], start=each * k, offset=shots[k % len(shots)].offset + 0.37 * k)
        for k in range(int(seconds / each) + 1)
    ]
    return Situation(name, drawn, as_captions(drawn), seconds, turns, **more)  # type: ignore[arg-type]


@scene
def gaps_over_edges() -> Situation:
    """Gaps of 200 to 280 ms; thin captions over a picture full of edges that moves sideways."""
    look = Look(0.055, outline=0.05)
    drawn = _apart((*texts.ENGLISH, *texts.ENGLISH[-2::-1]), (24, 37, 30), (5, 6, 7, 5), look=look)
    shots = [Shot(0, PHOTO, pan=0.11), Shot(0, BIKES, pan=0.2), Shot(0, PHOTO, 3.0, pan=0.32)]
    return _over("gaps_over_edges", drawn, shots, 5.1)


@scene
def gaps_at_30() -> Situation:
    """Gaps of 200 to 300 ms at 30 frames a second, 640 × 360, strongly compressed; one and two lines."""
    lines = [
        line if k % 3 else line.replace(" ", "\n", 3).replace("\n", " ", 2)
        for k, line in enumerate(texts.ENGLISH)
    ]
    drawn = _apart(lines * 2, (33, 46, 39, 28), (6, 9, 7, 8, 9), 30, Look(0.065, (255, 240, 150)))
    shots = [Shot(0, CARPHONE), Shot(0, BUNNY, 4.0), Shot(0, CHAPLIN), Shot(0, BIKES)]
    return _over("gaps_at_30", drawn, shots, 4.3, size=(640, 360), rate=30, crf=30)


@scene
def similar_after_gaps() -> Situation:
    """Gaps of 200 to 280 ms between captions with much in common, over moving pictures."""
    lines = [
        f"{who} {what}"
        for what in ("never came back", "went home early", "saw it first")
        for who in ("Nobody", "Somebody", "Everybody", "The keeper")
    ]
    drawn = _apart(lines * 2, (25, 31, 38), (5, 7, 6), look=Look(0.06, outline=0.07))
    shots = [Shot(0, BUNNY, 6.0), Shot(0, PHOTO, pan=0.15), Shot(0, STREET), Shot(0, COCKATOO)]
    return _over("similar_after_gaps", drawn, shots, 4.7)


@scene
def beside_cuts() -> Situation:
    """A scene cut one to four frames beside each start and each end."""
    drawn, times = series(texts.ENGLISH, seconds=1.8, gap=0.72), []
    for number, one in enumerate(drawn):
        times.append(one.start + (-3, 2, -1, 4, 1, -2)[number % 6] / 25)
        times.append(one.end + (2, -4, 1, -1, 3, -2)[number % 6] / 25)
    return Situation("beside_cuts", drawn, as_captions(drawn), ending(drawn), cuts(*sorted(times)))


@scene
def uhd_60() -> Situation:
    """3840 × 2160 at 60 frames a second."""
    drawn = series(texts.ENGLISH[:4], seconds=1.3, gap=0.35, rate=60)
    return plain("uhd_60", drawn, size=(3840, 2160), rate=60, first=1)


@scene
def fades() -> Situation:
    """Fades of 0.32 s at both ends, gaps of 0.5 s."""
    return plain("fades", series(texts.ENGLISH[:10], seconds=2.0, gap=0.52, fade=0.32), first=3)


@scene
def back_to_back() -> Situation:
    """No gap between captions that differ in a word or a digit."""
    verbs = ("wait", "look", "wait", "turn", "look", "stop")
    lines = [f"Step {number} of 9: {verb}." for number, verb in enumerate(verbs, 1)]
    return plain("back_to_back", series(lines, seconds=1.2, gap=0.0), first=4)


@scene
def many_cuts() -> Situation:
    """A cut every 0.4 to 0.9 s, some of them on the frame on which a caption starts or ends."""
    drawn = _apart(texts.ENGLISH * 2, (30, 44, 37), (8, 5, 14, 6), look=Look(0.06, outline=0.07))
    seconds, times, at = ending(drawn), [], 0.6
    while at < seconds - 0.5:
        times.append(round(at * 25) / 25)
        at += (0.4, 0.72, 0.56, 0.88)[len(times) % 4]
    times = sorted({*times, *(one.start for one in drawn[::4]), *(one.end for one in drawn[2::4])})
    return Situation("many_cuts", drawn, as_captions(drawn), seconds, cuts(*times))
