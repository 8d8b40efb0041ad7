"""What a clip shows beside its captions: takes with cuts between them, logos, text that moves."""

from dataclasses import dataclass

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


def random_distractors(plan: Plan, seconds: float) -> Distractors:
    """What is no caption in a clip of so many seconds."""
    rng, case = plan.rng, plan.case
    height, width = plan.strip
    found: dict[str, object] = {}
    if case == "logo" or chance(rng, 0.15):
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
    if moving is None and chance(rng, 0.06):
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
    return Distractors(**found)


@dataclass(frozen=True)
class Scenery:
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


def random_scenery(plan: Plan, footage: Footage, seconds: float) -> Scenery:
    """The pictures behind the captions of a clip of so many seconds."""
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
