"""The clips of the comparison, each with its truth: real footage, the sample video, and situations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.metrics import Caption
from benchmarks.quality import read_captions
from benchmarks.situations.__main__ import DATA, write_truth
from benchmarks.situations.building import registered
from benchmarks.situations.choice import names as situation_names
from benchmarks.situations.drawing import render
from captionacc_dagster.demo.sample import make_sample


@dataclass(frozen=True)
class Clip:
    """A video with its truth. ``language`` is ``en`` or ``zh``.

    ``strip`` is the lower part of the picture that a person would mark for tools that cannot find it.
    """

    name: str
    video: Path
    truth: Sequence[Caption]
    language: str = "en"
    strip: float = 0.26


#: Shared clips by name, with their language.
SHARED = {"en90": "en", "zh80": "zh"}
SAMPLE = "sample"
#: Situations with one caption zone, in scripts that every tool reads.
SITUATIONS = ("watermark", "cjk_punctuation")
CHINESE = {"cjk_punctuation"}


class NoFootageError(Exception):
    """A clip needs the shared footage, which is not there; the message says how to name its folder."""


def names() -> list[str]:
    """Return the names of the clips that are compared if none is named."""
    return [*SHARED, SAMPLE, *SITUATIONS]


def known(name: str) -> bool:
    """Return whether there is a clip of that name; every situation is one."""
    return name in (*SHARED, SAMPLE, *situation_names())


def clip(name: str, folder: Path) -> Clip:
    """Return a clip; what has to be drawn is drawn into ``folder`` once.

    Raises :class:`NoFootageError` for a clip that needs the shared footage, if that is not there.
    """
    if name in SHARED:
        video = _footage(DATA / "clips" / f"{name}.mp4")
        return Clip(name, video.resolve(), read_captions(video.with_suffix(".srt")), SHARED[name], 0.22)
    video = folder / f"{name}.mp4"
    truth = video.with_suffix(".srt")
    if not truth.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _drawn(name)(video, truth)
    return Clip(name, video.resolve(), read_captions(truth), "zh" if name in CHINESE else "en")


def _drawn(name: str) -> Callable[[Path, Path], object]:
    if name == SAMPLE:
        return make_sample

    def draw(video: Path, truth: Path) -> None:
        situation = registered()[name]()
        render(situation, _footage(DATA / "backgrounds"), video)
        write_truth(situation, truth)

    return draw


def _footage(path: Path) -> Path:
    if not path.exists():
        raise NoFootageError(f"{path} is not there: CAPTIONACC_TEST_DATA names the footage's folder")
    return path
