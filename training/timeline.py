"""The random content of a clip: its case, geometry and style, and captions on a timeline."""

from dataclasses import dataclass, field

import numpy as np

from training.fonts import Split, faces
from training.footage import Footage, Picture, shot, varied_shot
from training.layers import Layer, Style, draw
from training.texts import Random, numbered, one_character_changed, random_script, split_of, text

#: Cases: what a clip is guaranteed to show. Everything else is random.
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
#: Cases whose captions are similar throughout the video.
SERIES = ("one_character", "shared_prefix", "numbered")

_RATES = (24000 / 1001, 24.0, 25.0, 25.0, 30000 / 1001, 30.0, 30.0, 12.5, 50.0)


@dataclass(frozen=True)
class Event:
    """A caption in the half-open range ``[start, end)``, in seconds of the clip, fades included."""

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
class Plan:
    """Geometry and style of a clip, in source pixels."""

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
    #: Whether the backgrounds are unlike all footage, with many cuts.
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

    #: Position of single lines in a strip for two: 0 at the bottom, 0.5 in the middle, 1 at the top.
    anchor_of_singles: float = 0.0


def chance(rng: Random, share: float) -> bool:
    """Return True in ``share`` of all calls."""
    return bool(rng.random() < share)


def _style(rng: Random, split: Split, case: str, script: str, size: float) -> Style:
    options = faces(split, script)
    dark = chance(rng, 0.06)
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
        looks |= {"outline": 0.0 if chance(rng, 0.6) else 0.05, "shadow": float(rng.uniform(0.05, 0.1))}
        looks["shadow_blur"] = float(rng.choice([0, 0.03, 0.08]))
        looks["edge"] = 16
        looks["fill"] = fill
    elif look == "box":
        light = chance(rng, 0.2)
        looks |= {
            "box": float(rng.uniform(0.35, 1.0)),
            "box_luma": 225 if light else 20,
            "fill": 25 if light else fill,
            "outline": 0.0,
            "box_per_line": chance(rng, 0.4),
        }
    elif look == "thin":
        looks |= {"fill": 235, "edge": int(rng.integers(16, 110)), "outline": float(rng.uniform(0.03, 0.07))}
    elif chance(rng, 0.3):
        looks["shadow"] = float(rng.uniform(0.04, 0.09))
    if case == "karaoke":
        looks["sung"] = int(rng.choice([60, 80, 110, 140]) if looks["fill"] > 150 else 180)
    return Style(**looks)


def random_plan(rng: Random, split: Split, case: str) -> Plan:
    """Choose geometry and style of a clip that shows ``case``."""
    script = "latin" if case == "numbered" and chance(rng, 0.6) else random_script(rng)
    low = case == "low_bitrate"
    size = float(rng.uniform(12, 18) if low else np.exp(rng.uniform(np.log(13), np.log(34))))
    line = size * float(rng.uniform(1.45, 1.85))  # the line height that OCR would measure
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
    return Plan(
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


def _contents(plan: Plan, count: int) -> list[str]:
    """Return the texts of consecutive captions."""
    rng, split, script, case = plan.rng, plan.split, plan.script, plan.case

    def fresh() -> str:
        two = plan.max_lines == 2 and case != "ticker" and (case == "two_lines" or chance(rng, 0.35))
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


def _times(plan: Plan, seconds: float) -> list[tuple[float, float, float, float]]:
    """Return start, end, fade-in and fade-out of the captions, on source frames."""
    rng, case = plan.rng, plan.case
    short = case == "short"
    gapless = 0.9 if case in ("no_gap", "one_character", "shared_prefix", "numbered", "short") else 0.3
    fades = {"fade": (0.12, 0.4), "slow_fade": (0.6, 1.3)}.get(case)
    if fades is None and chance(rng, 0.12):
        fades = (0.08, 0.3)
    crossing = fades is not None and chance(rng, 0.4 if case == "slow_fade" else 0.15)
    times, now = [], float(rng.uniform(-1.5, 0.8))
    while now < seconds:
        if short:
            length = rng.uniform(0.28, 0.75)
        elif case == "slow_fade":
            length = rng.uniform(2.2, 4.0)
        else:
            length = rng.uniform(0.5, 1.4) if chance(rng, 0.35) else rng.uniform(1.4, 3.6)
        if case == "credits" and now > 0.39 * seconds:  # then they roll
            break
        fade_in, fade_out = rng.uniform(*fades, 2) if fades else (0.0, 0.0)
        fade_in, fade_out = min(fade_in, length * 0.4), min(fade_out, length * 0.4)
        start, end = round(now * plan.rate) / plan.rate, round((now + length) * plan.rate) / plan.rate
        times.append((start, max(end, start + 2 / plan.rate), float(fade_in), float(fade_out)))
        now = times[-1][1]
        if crossing:
            now -= fade_out
        elif not chance(rng, gapless):
            now += rng.uniform(0.1, 0.4) if chance(rng, 0.3) else rng.uniform(0.4, 1.6)
    return times


def random_events(plan: Plan, seconds: float) -> list[Event]:
    """Choose the captions of a clip of ``seconds``, in order, and add their texts to the plan."""
    if plan.case == "empty":
        return []
    times = _times(plan, seconds)
    texts = _contents(plan, len(times))
    events = []
    for (start, end, fade_in, fade_out), content in zip(times, texts, strict=True):
        layer = plan.layer(content)
        # A text that hardly reaches into the strip is not one of its captions.
        if layer is None or layer.glyphs.sum() < 0.06 * plan.style.size**2:
            continue
        # Two texts that differ only outside the strip look the same.
        if events and _looks_alike(events[-1].layer, layer) and start <= events[-1].end + 0.15:
            continue
        events.append(Event(start, end, layer, fade_in, fade_out))
        plan.texts.append(content)
    return events


def _looks_alike(one: Layer, other: Layer) -> bool:
    if (one.top, one.left) != (other.top, other.left) or one.glyphs.shape != other.glyphs.shape:
        return False
    return float(np.abs(one.glyphs - other.glyphs).sum()) < 3.0
