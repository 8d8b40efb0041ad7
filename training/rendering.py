"""Training clips: scripted captions over moving pictures, passed through a real H.264 encoder.

A clip is what :func:`~modal_gpu.media.frames.read_cropped_frames` would return for a few seconds of a video,
at working scale, with the full ground truth: the caption that each 10 Hz frame shows, its opacity, and its
strokes.
"""

from collections.abc import Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.change_times import picture_size
from modal_gpu.extents.predictor import FractionBox, StripHints
from modal_gpu.extents.working_scale import reference_picture, scaled, working_size
from training.clip import FRAMES, Clip, SourceFrames
from training.fonts import Split
from training.footage import Footage
from training.scenery import Distractors, Scenery, random_distractors, random_scenery
from training.texts import one_character_changed, text
from training.timeline import CASES, SERIES, Event, Plan, chance, random_events, random_plan

#: A fading caption counts as shown from this opacity on; fainter, it is hardly legible.
VISIBLE = 0.2
#: OpenCV's CV_CPU_AVX_512F, which its Python module lacks.
_AVX_512F = 13
#: With AVX-512, the x264 in PyAV's wheel occasionally encodes the same pictures differently.
_X264 = "log-level=none" + ":asm=avx2" * cv2.checkHardwareSupport(_AVX_512F)


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
    """Render the clip of this seed; the same arguments return the same clip.

    ``keep_source`` adds the strips at the video's own scale, ``keep_shown`` every source frame. ``varied``
    uses backgrounds unlike all footage.
    """
    rng = np.random.default_rng([seed, CASES.index(case), ("train", "validation", "test").index(split)])
    plan = random_plan(rng, split, case)
    plan.varied = varied
    seconds = frames / 10
    events = random_events(plan, seconds)
    scenery = random_scenery(plan, footage, seconds)
    extras = random_distractors(plan, seconds)

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


def _shown(plan: Plan, events: list[Event], strips: list[np.ndarray], line_height: float) -> SourceFrames:
    height, width = picture_size(plan.height, plan.width, line_height)
    small = [cv2.resize(strip, (width, height), interpolation=cv2.INTER_AREA) for strip in strips]
    owner, _ = _owners(events, [k / plan.rate for k in range(len(strips))], 1e-6)
    return SourceFrames(np.stack(small), owner, plan.rate)


def _owners(
    events: list[Event], seconds: list[float], visible: float = VISIBLE
) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Return the most opaque caption at each time, if at least as opaque as ``visible``, and its opacity."""
    owner, opacity = np.full(len(seconds), -1, np.int8), np.zeros(len(seconds), np.uint8)
    for place, moment in enumerate(seconds):
        opacities = [event.opacity(moment) for event in events]
        if opacities and max(opacities) >= visible:
            owner[place] = int(np.argmax(opacities))
            opacity[place] = round(255 * max(opacities))
    return owner, opacity


def _hints(plan: Plan, extras: Distractors) -> StripHints:
    rng = plan.rng
    boxes: list[FractionBox] = []
    if extras.logo_box is not None and chance(rng, 0.6):
        boxes.append(extras.logo_box)
    middle = plan.baseline - 0.36 * plan.style.size
    known = chance(rng, 0.85)
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
    plan: Plan,
    scenery: Scenery,
    extras: Distractors,
    events: list[Event],
    seconds: float,
    noise: np.ndarray,
) -> np.ndarray:
    """Compose one picture, float32 (height, width); ``noise`` has twice the height and width."""
    frame = scenery(seconds)
    extras.onto(frame, seconds)
    for event in events:
        if (opacity := event.opacity(seconds)) > 0:
            event.layer.onto(frame, opacity, event.progress(seconds))
    if plan.grain:
        down, right = -int(seconds * 7919) % plan.height, -int(seconds * 104729) % plan.width
        frame += plan.grain * noise[down : down + plan.height, right : right + plan.width]
    if plan.jitter:
        phase = np.array([seconds * 37.1, seconds * 29.3])
        dx, dy = plan.jitter * np.sin(phase) * np.cos(phase * 1.7 + 1)
        move = np.float32([[1, 0, dx], [0, 1, dy]])
        frame = cv2.warpAffine(frame, move, (plan.width, plan.height), borderMode=cv2.BORDER_REPLICATE)
    return frame


def _through_codec(
    plan: Plan, scenery: Scenery, extras: Distractors, events: list[Event], wanted: Sequence[int]
) -> list[np.ndarray]:
    """Return the luma of the ``wanted`` source frames after H.264; every source frame is encoded."""
    # Twice, so that any shifted section is a view.
    noise = np.tile(plan.rng.normal(0, 1, plan.strip).astype(np.float32), (2, 2))
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = plan.width, plan.height, "gray"
    encoder.time_base = Fraction(1, 30000)
    encoder.options = {
        "preset": plan.preset,
        "crf": str(plan.crf),
        "threads": "1",
        "x264-params": _X264,
    }
    encoder.thread_count = 1
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
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
        picture = av.VideoFrame.from_ndarray(luma, format="gray")
        picture.pts = round(k * 30000 / plan.rate)
        take(encoder.encode(picture))
    take(encoder.encode(None))
    take([None])
    return [found[k] for k in wanted]


def _reference(
    plan: Plan,
    scenery: Scenery,
    extras: Distractors,
    footage: Footage,
    luma: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """Return the reference picture of the video that the clip is part of, or of the clip if short."""
    rng = plan.rng
    strips = [luma[int(place)] for place in np.linspace(0, len(luma) - 1, 5 if chance(rng, 0.85) else 15)]
    if len(strips) == 15:
        return reference_picture(strips)
    elsewhere = chance(rng, 0.7)
    shots = [plan.shot(footage) for _ in range(5)] if elsewhere else []
    captioned = float(rng.choice([0.2, 0.5, 0.8, 0.95])) if plan.case != "empty" else 0.0
    layers = []
    if captioned and plan.texts and plan.case in SERIES and chance(rng, 0.6):
        # The video's other captions are as similar as the clip's, so their common part stays in the picture.
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
        if layers and chance(rng, captioned):
            layer = layers[int(rng.integers(len(layers)))]
            if layer is not None:
                layer.onto(frame, 1.0)
        strips.append(scaled(np.clip(frame, 16, 235).astype(np.uint8), size))
    return reference_picture(strips)
