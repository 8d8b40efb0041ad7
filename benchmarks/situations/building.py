"""Parts of situations: the registry, footage with cuts, and captions one after the other."""

from collections.abc import Callable, Sequence

from benchmarks.situations.model import BOTTOM, WHITE, Drawn, Look, Place, Shot, Situation, as_captions

STREET = "car-detection.mp4"
BUNNY = "big_buck_bunny_0_30.webm"
BIKES = "bikes.mp4"
CARPHONE = "carphone_pristine.mp4"
CHAPLIN = "chaplin.mp4"
COCKATOO = "cockatoo_yuv420.mp4"
PHOTO = "vacation_2017.jpg"
WALKERS = "one-by-one-person-detection.mp4"
FILES = (BUNNY, BIKES, STREET, COCKATOO, WALKERS, CHAPLIN)

#: Builds one situation.
Scene = Callable[[], Situation]
_scenes: dict[str, Scene] = {}


def registered() -> dict[str, Scene]:
    """Return every situation's function by its name."""
    return dict(_scenes)


def scene(function: Scene) -> Scene:
    """Register a situation under its function's name."""
    _scenes[function.__name__] = function
    return function


def cuts(*times: float, first: int = 0) -> list[Shot]:
    """Return shots that begin at 0 and at ``times``, from one file after the other."""
    return [Shot(start, FILES[(first + k) % len(FILES)], 0.4 * k) for k, start in enumerate((0.0, *times))]


def every(seconds: float, until: float, first: int = 0) -> list[Shot]:
    """Return shots of ``seconds`` each."""
    return cuts(*(seconds * k for k in range(1, int(until / seconds))), first=first)


def series(
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


def ending(drawn: Sequence[Drawn]) -> float:
    """Return the length of a clip that ends a second after its last text."""
    return max(one.end for one in drawn) + 1.0


def plain(name: str, drawn: Sequence[Drawn], *, first: int = 0, **more: object) -> Situation:
    """Return a situation in which each drawn text is a caption, with a cut about every seven seconds."""
    seconds = ending(drawn)
    return Situation(
        name,
        drawn,
        as_captions(drawn),
        seconds,
        every(7.3, seconds, first),
        **more,  # type: ignore[arg-type]
    )
