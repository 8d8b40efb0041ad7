"""The scenery of a clip: takes with cuts between them, logos, and moving text."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from modal_gpu.extents.predictor import FractionBox
from training.fonts import faces
from training.footage import Footage, Picture
from training.layers import Layer, Style, draw
from training.texts import random_script, text
from training.timeline import Plan, chance


@dataclass(frozen=True)
class Distractors:
    """Pictures drawn below the captions: a static logo, moving text."""

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
    """Composite a picture larger than the strip, shifted by whole and fractional pixels."""
    move = np.float32([[1, 0, layer.left + velocity[0] * seconds], [0, 1, layer.top + velocity[1] * seconds]])
    size = (frame.shape[1], frame.shape[0])
    alpha = cv2.warpAffine(layer.alpha, move, size)
    frame *= 1 - alpha
    frame += cv2.warpAffine(layer.luma, move, size)


def random_distractors(plan: Plan, seconds: float) -> Distractors:
    """Choose what a clip of ``seconds`` shows beside its captions: a logo, moving text."""
    rng, case = plan.rng, plan.case
    found = Distractors()
    if case == "logo" or chance(rng, 0.15):
        found = _with_logo(found, plan)
    moving = case if case in ("ticker", "credits", "scene_text") else None
    if moving is None and chance(rng, 0.06):
        moving = "scene_text"
    if moving == "ticker":
        return _with_ticker(found, plan)
    if moving == "credits":
        return _with_credits(found, plan, seconds)
    if moving == "scene_text":
        return _with_scene_text(found, plan)
    return found


def _with_logo(found: Distractors, plan: Plan) -> Distractors:
    rng = plan.rng
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
    left = chance(rng, 0.5)
    words = text(rng, plan.split, "latin")[: int(rng.integers(2, 11))].strip() or "TV"
    layer = draw(
        [words],
        look,
        plan.strip,
        float(rng.uniform(size, max(size + 1, plan.strip[0]))),
        "left" if left else "right",
        float(rng.uniform(0.01, 0.07)) if left else float(rng.uniform(0.93, 0.99)),
    )
    if layer is None:
        return found
    opacity = float(rng.uniform(0.45, 1.0))
    layer = Layer(layer.top, layer.left, layer.luma * opacity, layer.alpha * opacity, layer.glyphs)
    return replace(found, logo=layer, logo_box=_detected_box(rng, layer, plan.strip))


def _detected_box(rng: np.random.Generator, layer: Layer, strip: tuple[int, int]) -> FractionBox:
    """Return the layer's box as OCR would report it, as fractions of the strip."""
    height, width = strip
    rows, columns = layer.alpha.shape
    slack = rng.normal(0, 0.02, 4) * (1, 3, 1, 3)
    box = np.array(
        [layer.left / width, layer.top / height, (layer.left + columns) / width, (layer.top + rows) / height]
    )
    left, top, right, bottom = (float(side) for side in np.clip(box + slack, 0, 1))
    return left, top, right, bottom


def _with_ticker(found: Distractors, plan: Plan) -> Distractors:
    rng, (height, width) = plan.rng, plan.strip
    words = "   ".join(text(rng, plan.split, plan.script) for _ in range(9))
    size = plan.style.size * float(rng.uniform(0.6, 0.9))
    look = Style(plan.style.face, size, 225, 16, outline=float(rng.choice([0, 0.06])))
    speed = float(rng.uniform(2, 7)) * size
    layer = draw([words], look, (round(size * 1.6), int(width * 6 + 8)), size * 1.15, "left", 0.0)
    if layer is None:
        return found
    # Above single captions at the bottom, or below them.
    top = 0.0 if plan.anchor_of_singles < 0.5 else height - size * 1.6
    moved = replace(layer, top=round(top), left=round(rng.uniform(-2, 0.2) * width))
    return replace(found, moving=moved, velocity=(-speed, 0.0))


def _with_credits(found: Distractors, plan: Plan, seconds: float) -> Distractors:
    rng, (height, width) = plan.rng, plan.strip
    size = plan.style.size * float(rng.uniform(0.6, 1.0))
    look = Style(plan.style.face, size, 235, 16, outline=float(rng.choice([0, 0.05])), spacing=1.5)
    lines = [text(rng, plan.split, plan.script) for _ in range(16)]
    tall = round(size * 1.5 * 17)
    layer = draw(lines, look, (tall, width), tall - size, "center", plan.anchor_x)
    if layer is None:
        return found
    start = seconds * float(rng.uniform(0.39, 0.62))
    velocity = (0.0, -float(rng.uniform(0.8, 2.5)) * size)
    return replace(found, moving=replace(layer, top=height), velocity=velocity, start=start)


def _with_scene_text(found: Distractors, plan: Plan) -> Distractors:
    rng, (height, width) = plan.rng, plan.strip
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
    if layer is None:
        return found
    top, left = round(rng.uniform(-0.5, 0.8) * height), round(rng.uniform(-0.3, 0.6) * width)
    speed = float(rng.choice([0.3, 1, 3])) * size
    velocity = (speed * rng.normal(), 0.15 * speed * rng.normal())
    return replace(found, moving=replace(layer, top=top, left=left), velocity=velocity)


@dataclass(frozen=True)
class Scenery:
    """The background: takes with cuts between them, bars, brightness."""

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


def random_scenery(plan: Plan, footage: Footage, seconds: float) -> Scenery:
    """Choose the backgrounds of a clip of ``seconds``."""
    rng, case = plan.rng, plan.case
    usual = [0, 1, 2, 4, 8] if plan.varied else [0, 0, 0, 1, 2]
    count = int(rng.integers(2, 5)) if case == "scene_cut" else int(rng.choice(usual))
    shots = [plan.shot(footage) for _ in range(count + 1)]
    cuts = sorted(float(round(t * plan.rate) / plan.rate) for t in rng.uniform(0, seconds, count))
    bright = case == "white_on_white"
    bar = None
    if case == "letterbox":
        bar = round(plan.height * float(rng.choice([0.0, 0.25, 0.5, 0.75]) + rng.uniform(0, 0.2)))
    return Scenery(shots, cuts, float(rng.uniform(0.6, 0.97)) if bright else 0.0, bar)
