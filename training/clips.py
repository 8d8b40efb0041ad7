"""Training clips: captions by a scripted timeline over moving pictures, through a real H.264 encoder.

A clip is what :func:`~modal_gpu.media.frames.read_cropped_frames` would give for a few seconds of a
video, at working scale, with everything that is known about it: which caption each 10 Hz frame
shows, how opaque it is, and where its strokes are.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.change_times import picture_size
from modal_gpu.extents.predictor import FractionBox, StripHints
from modal_gpu.extents.working_scale import reference_picture, scaled, working_size
from training.fonts import Split, faces
from training.footage import Footage, Picture, shot, varied_shot
from training.layers import Layer, Style, draw
from training.texts import Random, numbered, one_character_changed, random_script, split_of, text

#: What each clip is made to show; the rest of it is drawn at random.
CASES = (
    "plain",
    "outline",
    "shadow",
    "box",
    "karaoke",
    "fade",
    "one_line",
    "two_lines",
    "one_character",
    "shared_prefix",
    "numbered",
    "no_gap",
    "short",
    "scene_cut",
    "logo",
    "scene_text",
    "ticker",
    "credits",
    "white_on_white",
    "letterbox",
    "out_of_crop",
    "slow_fade",
    "low_bitrate",
    "interlaced",
    "jitter",
    "empty",
)
#: Cases whose captions are like each other through the whole video.
_SERIES = ("one_character", "shared_prefix", "numbered")
#: 10 Hz frames a clip, and a long one, whose own median tells what stays, such as a logo, from captions.
FRAMES, LONG_FRAMES = 64, 192
#: From this opacity on a fading caption counts as shown; fainter, it can hardly be read.
VISIBLE = 0.2

_RATES = (24000 / 1001, 24.0, 25.0, 25.0, 30000 / 1001, 30.0, 30.0, 12.5, 50.0)


@dataclass(frozen=True)
class Clip:
    """``luma`` uint8 (frames, h, w) at working scale, unpadded; ``reference`` uint8 (h, w).

    ``owner`` int8 (frames,): the caption that a frame shows, an index into ``glyphs``, -1 for none;
    ``opacity`` uint8 (frames,), of 255. ``glyphs`` uint8 (captions, ⌈h/2⌉, ⌈w/2⌉): where the strokes are.
    """

    luma: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    owner: NDArray[np.int8]
    opacity: NDArray[np.uint8]
    glyphs: NDArray[np.uint8]
    hints: StripHints
    case: str
    script: str
    split: str
    seed: int
    texts: tuple[str, ...] = ()
    #: The strips at the video's own scale, uint8 (frames, H, W), where they are kept.
    source: NDArray[np.uint8] | None = None
    #: Every source frame, where they are kept.
    shown: "SourceFrames | None" = None

    def save(self, path: Path) -> None:
        meta = {
            "hints": asdict(self.hints),
            "case": self.case,
            "script": self.script,
            "split": self.split,
            "seed": self.seed,
            "texts": self.texts,
        }
        partial = path.with_suffix(".part")
        source = {} if self.source is None else {"source": self.source}
        if self.shown is not None:
            source |= {"shown_luma": self.shown.luma, "shown_owner": self.shown.owner}
            source |= {"shown_rate": np.array(self.shown.rate)}
        with partial.open("wb") as file:
            np.savez(
                file,
                luma=self.luma,
                reference=self.reference,
                owner=self.owner,
                opacity=self.opacity,
                glyphs=self.glyphs,
                meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
                **source,
            )
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Clip":
        with np.load(path) as data:
            meta = json.loads(data["meta"].tobytes())
            hints = meta.pop("hints")
            hints["ignore_boxes"] = tuple(tuple(box) for box in hints["ignore_boxes"])
            hints["observations"] = hints["samples"] = ()
            meta["texts"] = tuple(meta["texts"])
            names = ("luma", "reference", "owner", "opacity", "glyphs", "source")
            arrays = {name: data[name] for name in names if name in data}
            if "shown_luma" in data:
                rate = float(data["shown_rate"])
                arrays["shown"] = SourceFrames(data["shown_luma"], data["shown_owner"], rate)
        return cls(**arrays, hints=StripHints(**hints), **meta)


@dataclass(frozen=True)
class SourceFrames:
    """All source frames of a clip, ``rate`` a second from 0 s on.

    ``luma`` uint8 (n, h, w): small pictures of them, as the pipeline takes them to place changes;
    ``owner`` int8 (n,): the caption that each shows, however faint; the more opaque one of two; -1 for none.
    """

    luma: NDArray[np.uint8]
    owner: NDArray[np.int8]
    rate: float

    def between(self, first: float, last: float) -> range:
        """Those shown after ``first`` until ``last``, in seconds."""
        ends = (math.floor(at * self.rate + 1e-6) + 1 for at in (first, last))
        return range(*(min(max(0, end), len(self.owner)) for end in ends))

    def span(self, caption: int) -> tuple[float, float]:
        """When a caption begins and when it is gone, in seconds."""
        own = np.flatnonzero(self.owner == caption)
        return float(own[0] / self.rate), float((own[-1] + 1) / self.rate)


# --- the script of a clip ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """A caption from ``start`` to ``end`` in seconds of the clip, half-open; fades lie inside."""

    start: float
    end: float
    layer: Layer
    fade_in: float = 0.0
    fade_out: float = 0.0

    def opacity(self, seconds: float) -> float:
        if not self.start <= seconds < self.end:
            return 0.0
        rising = (seconds - self.start) / self.fade_in if self.fade_in else 1.0
        falling = (self.end - seconds) / self.fade_out if self.fade_out else 1.0
        return max(0.0, min(1.0, rising, falling))

    def progress(self, seconds: float) -> float:
        return min(1.0, max(0.0, (seconds - self.start) / (0.8 * (self.end - self.start))))


@dataclass
class _Plan:
    """Geometry and looks of a clip, source pixels."""

    rng: Random
    split: Split
    case: str
    script: str
    rate: float
    height: int
    width: int
    line: float
    style: Style
    anchor: str
    anchor_x: float
    baseline: float
    max_lines: int
    crf: int
    preset: str
    grain: float
    jitter: float
    texts: list[str] = field(default_factory=list)
    #: Backgrounds that look like none of the footage, and many cuts between them.
    varied: bool = False

    def shot(self, footage: Footage) -> Picture:
        return (varied_shot if self.varied else shot)(self.rng, footage, self.split, self.height, self.width)

    @property
    def strip(self) -> tuple[int, int]:
        return self.height, self.width

    def layer(self, content: str) -> Layer | None:
        lines = content.split("\n")
        shift = 0.0
        if len(lines) == 1 and self.max_lines == 2 and self.anchor_of_singles:
            shift = self.style.size * self.style.spacing * self.anchor_of_singles
        return draw(lines, self.style, self.strip, self.baseline - shift, self.anchor, self.anchor_x)

    #: Where single lines stand in a strip for two: 0 at the bottom, 0.5 in the middle, 1 at the top.
    anchor_of_singles: float = 0.0


def _chance(rng: Random, share: float) -> bool:
    return bool(rng.random() < share)


def _style(rng: Random, split: Split, case: str, script: str, size: float) -> Style:
    options = faces(split, script)
    dark = _chance(rng, 0.06)
    fill = int(rng.choice([235, 235, 235, 225, 210, 190, 170]))
    looks = {
        "face": options[int(rng.integers(len(options)))],
        "size": size,
        "fill": 25 if dark else fill,
        "edge": 225 if dark else int(rng.choice([16, 16, 16, 30, 60])),
        "softness": float(rng.choice([0, 0, 0, 0.5, 0.8])) * size / 30,
        "spacing": float(rng.uniform(1.12, 1.4)),
        "outline": float(rng.uniform(0.05, 0.13)),
    }
    look = (
        case
        if case in ("outline", "shadow", "box")
        else str(rng.choice(["outline", "outline", "outline", "shadow", "box"]))
    )
    if case == "white_on_white":
        look = "thin"
    if look == "shadow":
        looks |= {"outline": 0.0 if _chance(rng, 0.6) else 0.05, "shadow": float(rng.uniform(0.05, 0.1))}
        looks["shadow_blur"] = float(rng.choice([0, 0.03, 0.08]))
        looks["edge"] = 16
        looks["fill"] = fill
    elif look == "box":
        light = _chance(rng, 0.2)
        looks |= {
            "box": float(rng.uniform(0.35, 1.0)),
            "box_luma": 225 if light else 20,
            "fill": 25 if light else fill,
            "outline": 0.0,
            "box_per_line": _chance(rng, 0.4),
        }
    elif look == "thin":
        looks |= {"fill": 235, "edge": int(rng.integers(16, 110)), "outline": float(rng.uniform(0.03, 0.07))}
    elif _chance(rng, 0.3):
        looks["shadow"] = float(rng.uniform(0.04, 0.09))
    if case == "karaoke":
        looks["sung"] = int(rng.choice([60, 80, 110, 140]) if looks["fill"] > 150 else 180)
    return Style(**looks)


def _plan(rng: Random, split: Split, case: str) -> _Plan:
    script = "latin" if case == "numbered" and _chance(rng, 0.6) else random_script(rng)
    low = case == "low_bitrate"
    size = float(rng.uniform(12, 18) if low else np.exp(rng.uniform(np.log(13), np.log(34))))
    line = size * float(rng.uniform(1.45, 1.85))  # what OCR takes for a line's height
    style = _style(rng, split, case, script, size)
    max_lines = (
        1 if case == "one_line" else 2 if case in ("two_lines", "ticker") else int(rng.choice([1, 2, 2]))
    )
    pad = float(rng.uniform(0.2, 0.45))
    height = line * (1 + 2 * pad) + (max_lines - 1) * size * style.spacing
    width = line * float(rng.uniform(13, 25))
    anchor = str(rng.choice(["center"] * 8 + ["left", "right"]))
    anchor_x = {"center": 0.5 + float(rng.normal(0, 0.01)), "left": 0.06, "right": 0.94}[anchor]
    baseline = height - pad * line - 0.5 * line + 0.36 * size
    if case == "out_of_crop":
        baseline += float(rng.choice([-1, 1, 1])) * line * float(rng.uniform(0.35, 0.6))
        if max_lines == 1:
            baseline = min(baseline, height + 0.1 * size)
    return _Plan(
        rng=rng,
        split=split,
        case=case,
        script=script,
        rate=float(rng.choice([25.0, 30000 / 1001]) if case == "interlaced" else rng.choice(_RATES)),
        height=max(16, round(height / 2) * 2),
        width=round(width / 2) * 2,
        line=line,
        style=style,
        anchor=anchor,
        anchor_x=anchor_x,
        baseline=baseline,
        max_lines=max_lines,
        crf=int(rng.integers(32, 41) if low else rng.integers(17, 32)),
        preset=str(rng.choice(["veryfast", "superfast", "ultrafast", "faster"])),
        grain=float(rng.choice([0, 0, 1.5, 3, 5])),
        jitter=float(rng.uniform(0.3, 1.6)) if case == "jitter" else 0.0,
        anchor_of_singles=float(rng.choice([0, 1] if case == "ticker" else [0, 0, 0, 0.5, 1])),
    )


def _contents(plan: _Plan, count: int) -> list[str]:
    """Texts of consecutive captions."""
    rng, split, script, case = plan.rng, plan.split, plan.script, plan.case

    def fresh() -> str:
        two = plan.max_lines == 2 and case != "ticker" and (case == "two_lines" or _chance(rng, 0.35))
        return text(rng, split, script, 2 if two else 1)

    def longer(given: str) -> str:
        while True:
            made = given + " " + text(rng, split, script)[: int(rng.integers(2, 12))]
            if split_of(made) == split and made.strip() != given.strip():
                return made

    if case == "numbered":
        series = numbered(rng, split, script)
        while len(series) < count:
            series += numbered(rng, split, script)
        return series[:count]
    texts = [fresh()]
    while len(texts) < count:
        kind = rng.random()
        if case == "one_character" or kind < 0.08:
            texts.append(one_character_changed(rng, split, script, texts[-1]))
        elif (case == "shared_prefix" or kind < 0.14) and "\n" not in texts[-1] and len(texts[-1]) < 24:
            texts.append(longer(texts[-1]))
        else:
            texts.append(fresh())
    return texts


def _times(plan: _Plan, seconds: float) -> list[tuple[float, float, float, float]]:
    """Start, end, fade-in, fade-out of the captions, on source frames."""
    rng, case = plan.rng, plan.case
    short = case == "short"
    gapless = 0.9 if case in ("no_gap", "one_character", "shared_prefix", "numbered", "short") else 0.3
    fades = {"fade": (0.12, 0.4), "slow_fade": (0.6, 1.3)}.get(case)
    if fades is None and _chance(rng, 0.12):
        fades = (0.08, 0.3)
    crossing = fades is not None and _chance(rng, 0.4 if case == "slow_fade" else 0.15)
    times, now = [], float(rng.uniform(-1.5, 0.8))
    while now < seconds:
        if short:
            length = rng.uniform(0.28, 0.75)
        elif case == "slow_fade":
            length = rng.uniform(2.2, 4.0)
        else:
            length = rng.uniform(0.5, 1.4) if _chance(rng, 0.35) else rng.uniform(1.4, 3.6)
        if case == "credits" and now > 0.39 * seconds:  # then they roll
            break
        fade_in, fade_out = rng.uniform(*fades, 2) if fades else (0.0, 0.0)
        fade_in, fade_out = min(fade_in, length * 0.4), min(fade_out, length * 0.4)
        start, end = round(now * plan.rate) / plan.rate, round((now + length) * plan.rate) / plan.rate
        times.append((start, max(end, start + 2 / plan.rate), float(fade_in), float(fade_out)))
        now = times[-1][1]
        if crossing:
            now -= fade_out
        elif not _chance(rng, gapless):
            now += rng.uniform(0.1, 0.4) if _chance(rng, 0.3) else rng.uniform(0.4, 1.6)
    return times


def _events(plan: _Plan, seconds: float) -> list[Event]:
    if plan.case == "empty":
        return []
    times = _times(plan, seconds)
    texts = _contents(plan, len(times))
    events = []
    for (start, end, fade_in, fade_out), content in zip(times, texts, strict=True):
        layer = plan.layer(content)
        # What hardly reaches into the strip is no caption of it.
        if layer is None or layer.glyphs.sum() < 0.06 * plan.style.size**2:
            continue
        # Two texts that differ outside of the strip only look the same.
        if events and _looks_alike(events[-1].layer, layer) and start <= events[-1].end + 0.15:
            continue
        events.append(Event(start, end, layer, fade_in, fade_out))
        plan.texts.append(content)
    return events


def _looks_alike(one: Layer, other: Layer) -> bool:
    if (one.top, one.left) != (other.top, other.left) or one.glyphs.shape != other.glyphs.shape:
        return False
    return float(np.abs(one.glyphs - other.glyphs).sum()) < 3.0


# --- what is no caption -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Distractors:
    """Drawn over the picture below the captions: a logo that stays, text that moves."""

    logo: Layer | None = None
    logo_box: FractionBox | None = None
    moving: Layer | None = None
    velocity: tuple[float, float] = (0.0, 0.0)
    start: float = -1e9
    period: float = 0.0

    def onto(self, frame: np.ndarray, seconds: float) -> None:
        if self.moving is not None and seconds >= self.start:
            _moved(self.moving, frame, self.velocity, seconds - self.start if self.start > -1e8 else seconds)
        if self.logo is not None:
            self.logo.onto(frame, 1.0)


def _moved(layer: Layer, frame: np.ndarray, velocity: tuple[float, float], seconds: float) -> None:
    """Lay a picture larger than the strip over it, moved by whole and part pixels."""
    move = np.float32([[1, 0, layer.left + velocity[0] * seconds], [0, 1, layer.top + velocity[1] * seconds]])
    size = (frame.shape[1], frame.shape[0])
    alpha = cv2.warpAffine(layer.alpha, move, size)
    frame *= 1 - alpha
    frame += cv2.warpAffine(layer.luma, move, size)


def _distractors(plan: _Plan, seconds: float) -> _Distractors:
    rng, case = plan.rng, plan.case
    height, width = plan.strip
    found: dict[str, object] = {}
    if case == "logo" or _chance(rng, 0.15):
        size = plan.style.size * float(rng.uniform(0.5, 1.1))
        face = faces(plan.split, "latin")[int(rng.integers(len(faces(plan.split, "latin"))))]
        look = Style(
            face,
            size,
            int(rng.choice([235, 210, 160, 30])),
            16,
            outline=float(rng.choice([0, 0, 0.06])),
            box=float(rng.choice([0, 0, 0.8])),
            box_luma=int(rng.choice([20, 120, 80])),
        )
        left = _chance(rng, 0.5)
        words = text(rng, plan.split, "latin")[: int(rng.integers(2, 11))].strip() or "TV"
        layer = draw(
            [words],
            look,
            plan.strip,
            float(rng.uniform(size, max(size + 1, height))),
            "left" if left else "right",
            float(rng.uniform(0.01, 0.07)) if left else float(rng.uniform(0.93, 0.99)),
        )
        if layer is not None:
            opacity = float(rng.uniform(0.45, 1.0))
            layer = Layer(layer.top, layer.left, layer.luma * opacity, layer.alpha * opacity, layer.glyphs)
            found["logo"] = layer
            rows, columns = layer.alpha.shape
            slack = rng.normal(0, 0.02, 4) * (1, 3, 1, 3)
            box = np.array(
                [
                    layer.left / width,
                    layer.top / height,
                    (layer.left + columns) / width,
                    (layer.top + rows) / height,
                ]
            )
            found["logo_box"] = tuple(float(side) for side in np.clip(box + slack, 0, 1))
    moving = case if case in ("ticker", "credits", "scene_text") else None
    if moving is None and _chance(rng, 0.06):
        moving = "scene_text"
    if moving == "ticker":
        words = "   ".join(text(rng, plan.split, plan.script) for _ in range(9))
        size = plan.style.size * float(rng.uniform(0.6, 0.9))
        look = Style(plan.style.face, size, 225, 16, outline=float(rng.choice([0, 0.06])))
        speed = float(rng.uniform(2, 7)) * size
        layer = draw([words], look, (round(size * 1.6), int(width * 6 + 8)), size * 1.15, "left", 0.0)
        if layer is not None:
            # Above single captions at the bottom, or below them.
            top = 0.0 if plan.anchor_of_singles < 0.5 else height - size * 1.6
            pasted = Layer(
                round(top), round(rng.uniform(-2, 0.2) * width), layer.luma, layer.alpha, layer.glyphs
            )
            found |= {"moving": pasted, "velocity": (-speed, 0.0)}
    elif moving == "credits":
        size = plan.style.size * float(rng.uniform(0.6, 1.0))
        look = Style(plan.style.face, size, 235, 16, outline=float(rng.choice([0, 0.05])), spacing=1.5)
        lines = [text(rng, plan.split, plan.script) for _ in range(16)]
        tall = round(size * 1.5 * 17)
        layer = draw(lines, look, (tall, width), tall - size, "center", plan.anchor_x)
        if layer is not None:
            pasted = Layer(height, layer.left, layer.luma, layer.alpha, layer.glyphs)
            starts = seconds * float(rng.uniform(0.39, 0.62))
            found |= {
                "moving": pasted,
                "velocity": (0.0, -float(rng.uniform(0.8, 2.5)) * size),
                "start": starts,
            }
    elif moving == "scene_text":
        size = plan.style.size * float(rng.choice([0.6, 0.8, 1.5, 2.5]))
        script = random_script(rng)
        options = faces(plan.split, script)
        look = Style(
            options[int(rng.integers(len(options)))],
            size,
            int(rng.integers(20, 235)),
            int(rng.integers(20, 235)),
            outline=float(rng.choice([0, 0, 0.05])),
            box=float(rng.choice([0, 0.9])),
            box_luma=int(rng.integers(20, 235)),
            softness=size * float(rng.uniform(0.01, 0.06)),
        )
        layer = draw(
            [text(rng, plan.split, script)],
            look,
            (round(size * 2), 2 * width),
            size * 1.3,
            "left",
            float(rng.uniform(0, 0.4)),
        )
        if layer is not None:
            pasted = Layer(
                round(rng.uniform(-0.5, 0.8) * height),
                round(rng.uniform(-0.3, 0.6) * width),
                layer.luma,
                layer.alpha,
                layer.glyphs,
            )
            speed = float(rng.choice([0.3, 1, 3])) * size
            found |= {"moving": pasted, "velocity": (speed * rng.normal(), 0.15 * speed * rng.normal())}
    return _Distractors(**found)


@dataclass(frozen=True)
class _Scenery:
    """The picture behind: takes with cuts between them, bars, brightness."""

    shots: list[Picture]
    cuts: list[float]
    lift: float = 0.0
    bar: int | None = None

    def __call__(self, seconds: float) -> np.ndarray:
        place = sum(cut <= seconds for cut in self.cuts)
        frame = self.shots[place % len(self.shots)](seconds).astype(np.float32)
        if self.lift:
            frame = 235 - (235 - frame) * (1 - self.lift)
        if self.bar is not None:
            frame[self.bar :] = 16
        return frame


def _scenery(plan: _Plan, footage: Footage, seconds: float) -> _Scenery:
    rng, case = plan.rng, plan.case
    usual = [0, 1, 2, 4, 8] if plan.varied else [0, 0, 0, 1, 2]
    count = int(rng.integers(2, 5)) if case == "scene_cut" else int(rng.choice(usual))
    shots = [plan.shot(footage) for _ in range(count + 1)]
    cuts = sorted(float(round(t * plan.rate) / plan.rate) for t in rng.uniform(0, seconds, count))
    bright = case == "white_on_white"
    bar = None
    if case == "letterbox":
        bar = round(plan.height * float(rng.choice([0.0, 0.25, 0.5, 0.75]) + rng.uniform(0, 0.2)))
    return _Scenery(shots, cuts, float(rng.uniform(0.6, 0.97)) if bright else 0.0, bar)


# --- pictures ---------------------------------------------------------------------------------------


def make_clip(
    seed: int,
    split: Split,
    case: str,
    footage: Footage,
    frames: int = FRAMES,
    keep_source: bool = False,
    keep_shown: bool = False,
    varied: bool = False,
) -> Clip:
    """The clip of this seed; the same arguments give the same clip.

    ``keep_source``, ``keep_shown``: with its strips at the video's own scale, with every source frame.
    ``varied``: before backgrounds that look like none of the footage.
    """
    rng = np.random.default_rng([seed, CASES.index(case), ("train", "validation", "test").index(split)])
    plan = _plan(rng, split, case)
    plan.varied = varied
    seconds = frames / 10
    events = _events(plan, seconds)
    scenery = _scenery(plan, footage, seconds)
    extras = _distractors(plan, seconds)

    # At i / 10 s the last source frame shown by then; a clip starts anywhere in its video.
    wanted = [int(i / 10 * plan.rate + 1e-6) for i in range(frames)]
    every = range(max(wanted) + 1) if keep_shown else wanted
    decoded = dict(zip(every, _through_codec(plan, scenery, extras, events, every), strict=True))
    strips = [decoded[k] for k in wanted]

    hints = _hints(plan, extras)
    size = working_size(plan.height, plan.width, hints.line_height)
    luma = np.stack([scaled(strip, size) for strip in strips])
    owner, opacity = _owners(events, [k / plan.rate for k in wanted])
    half = (-(-size[0] // 2), -(-size[1] // 2))
    glyphs = np.zeros((len(events), *half), np.uint8)
    for place, event in enumerate(events):
        whole = np.zeros(plan.strip, np.float32)
        rows, columns = event.layer.glyphs.shape
        whole[event.layer.top : event.layer.top + rows, event.layer.left : event.layer.left + columns] = (
            event.layer.glyphs
        )
        glyphs[place] = np.round(255 * cv2.resize(whole, half[::-1], interpolation=cv2.INTER_AREA))
    return Clip(
        luma=luma,
        reference=_reference(plan, scenery, extras, footage, luma, size),
        owner=owner,
        opacity=opacity,
        glyphs=glyphs,
        hints=hints,
        case=case,
        script=plan.script,
        split=split,
        seed=seed,
        texts=tuple(plan.texts),
        source=np.stack(strips) if keep_source else None,
        shown=_shown(plan, events, list(decoded.values()), hints.line_height) if keep_shown else None,
    )


def _shown(plan: _Plan, events: list[Event], strips: list[np.ndarray], line_height: float) -> SourceFrames:
    height, width = picture_size(plan.height, plan.width, line_height)
    small = [cv2.resize(strip, (width, height), interpolation=cv2.INTER_AREA) for strip in strips]
    owner, _ = _owners(events, [k / plan.rate for k in range(len(strips))], 1e-6)
    return SourceFrames(np.stack(small), owner, plan.rate)


def _owners(
    events: list[Event], seconds: list[float], visible: float = VISIBLE
) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """The most opaque caption of each time, if it is as opaque as ``visible``, and how opaque it is."""
    owner, opacity = np.full(len(seconds), -1, np.int8), np.zeros(len(seconds), np.uint8)
    for place, moment in enumerate(seconds):
        opacities = [event.opacity(moment) for event in events]
        if opacities and max(opacities) >= visible:
            owner[place] = int(np.argmax(opacities))
            opacity[place] = round(255 * max(opacities))
    return owner, opacity


def _hints(plan: _Plan, extras: _Distractors) -> StripHints:
    rng = plan.rng
    boxes: list[FractionBox] = []
    if extras.logo_box is not None and _chance(rng, 0.6):
        boxes.append(extras.logo_box)
    middle = plan.baseline - 0.36 * plan.style.size
    known = _chance(rng, 0.85)
    return StripHints(
        line_height=float(plan.line / plan.height * rng.uniform(0.9, 1.1)),
        vertical_center=float(np.clip(middle / plan.height + rng.normal(0, 0.03), 0.05, 0.95))
        if known
        else 0.5,
        anchor_type=plan.anchor if known else None,
        anchor_position=plan.anchor_x if known else None,
        ignore_boxes=tuple(boxes),
    )


def _composed(
    plan: _Plan,
    scenery: _Scenery,
    extras: _Distractors,
    events: list[Event],
    seconds: float,
    noise: np.ndarray,
) -> np.ndarray:
    """One picture, float32 (height, width)."""
    frame = scenery(seconds)
    extras.onto(frame, seconds)
    for event in events:
        if (opacity := event.opacity(seconds)) > 0:
            event.layer.onto(frame, opacity, event.progress(seconds))
    if plan.grain:
        shift = int(seconds * 7919) % noise.shape[0], int(seconds * 104729) % noise.shape[1]
        frame += plan.grain * np.roll(noise, shift, (0, 1))
    if plan.jitter:
        phase = np.array([seconds * 37.1, seconds * 29.3])
        dx, dy = plan.jitter * np.sin(phase) * np.cos(phase * 1.7 + 1)
        move = np.float32([[1, 0, dx], [0, 1, dy]])
        frame = cv2.warpAffine(frame, move, (plan.width, plan.height), borderMode=cv2.BORDER_REPLICATE)
    return frame


def _through_codec(
    plan: _Plan, scenery: _Scenery, extras: _Distractors, events: list[Event], wanted: Sequence[int]
) -> list[np.ndarray]:
    """The ``wanted`` source frames' luma after H.264; every source frame is drawn and encoded."""
    noise = plan.rng.normal(0, 1, plan.strip).astype(np.float32)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = plan.width, plan.height, "yuv420p"
    encoder.time_base = Fraction(1, 30000)
    encoder.options = {
        "preset": plan.preset,
        "crf": str(plan.crf),
        "threads": "1",
        "x264-params": "log-level=none",
    }
    encoder.thread_count = 1
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    chroma = np.full((plan.height // 2, plan.width), 128, np.uint8)
    needed, found, count = set(wanted), {}, 0

    def take(packets) -> None:
        nonlocal count
        for packet in packets:
            for shown in decoder.decode(packet):
                if count in needed:
                    plane = shown.planes[0]
                    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                    found[count] = rows[: plan.height, : plan.width].copy()
                count += 1

    for k in range(max(wanted) + 1):
        frame = _composed(plan, scenery, extras, events, k / plan.rate, noise)
        if plan.case == "interlaced":
            later = _composed(plan, scenery, extras, events, (k + 0.5) / plan.rate, noise)
            frame[1::2] = later[1::2]
        luma = np.clip(frame + 0.5, 16, 235).astype(np.uint8)
        picture = av.VideoFrame.from_ndarray(np.concatenate([luma, chroma]), format="yuv420p")
        picture.pts = round(k * 30000 / plan.rate)
        take(encoder.encode(picture))
    take(encoder.encode(None))
    take([None])
    return [found[k] for k in wanted]


def _reference(
    plan: _Plan,
    scenery: _Scenery,
    extras: _Distractors,
    footage: Footage,
    luma: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """What stays in the whole video, of which the clip is a part; of the clip alone in short videos."""
    rng = plan.rng
    strips = [luma[int(place)] for place in np.linspace(0, len(luma) - 1, 5 if _chance(rng, 0.85) else 15)]
    if len(strips) == 15:
        return reference_picture(strips)
    elsewhere = _chance(rng, 0.7)
    shots = [plan.shot(footage) for _ in range(5)] if elsewhere else []
    captioned = float(rng.choice([0.2, 0.5, 0.8, 0.95])) if plan.case != "empty" else 0.0
    layers = []
    if captioned and plan.texts and plan.case in _SERIES and _chance(rng, 0.6):
        # The video's other captions are as much alike as the clip's, so that their common part stays.
        contents = [plan.texts[int(rng.integers(len(plan.texts)))] for _ in range(8)]
        layers = [
            plan.layer(one_character_changed(rng, plan.split, plan.script, content)) for content in contents
        ]
    elif captioned:
        layers = [plan.layer(text(rng, plan.split, plan.script)) for _ in range(8)]
    for place in range(12):
        seconds = float(rng.uniform(-40, 40))
        frame = (shots[place % 5](abs(seconds)).astype(np.float32)) if shots else scenery(abs(seconds))
        if scenery.lift:
            frame = 235 - (235 - frame) * (1 - scenery.lift)
        if scenery.bar is not None:
            frame[scenery.bar :] = 16
        if extras.moving is None or plan.case == "ticker":
            extras.onto(frame, seconds % 6)
        elif extras.logo is not None:
            extras.logo.onto(frame, 1.0)
        if layers and _chance(rng, captioned):
            layer = layers[int(rng.integers(len(layers)))]
            if layer is not None:
                layer.onto(frame, 1.0)
        strips.append(scaled(np.clip(frame, 16, 235).astype(np.uint8), size))
    return reference_picture(strips)
