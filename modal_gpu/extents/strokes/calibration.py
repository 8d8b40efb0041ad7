"""Polarity, strength and presence threshold of one video's captions."""

from dataclasses import replace

import numpy as np

from modal_gpu.extents.predictor import Observation
from modal_gpu.extents.strokes.responses import Block, pixels, relative, top_energy
from modal_gpu.extents.strokes.settings import Calibration, Grid

#: Observations used, with a caption and without one, at most.
_OBSERVATIONS = 40
#: Strips used where there is no observation, at most.
_STRIPS = 60
#: Share of its peak that a stroke's response has on average.
_MEAN_SHARE = 0.65
#: Response (of 255) that captions have at least.
_LEAST_STRENGTH = 24.0


def calibrate(block: Block) -> Calibration:
    """Return what a block's observations say about the captions, or its strongest strokes without any."""
    seen = block.observations()
    visible = [observation for observation in seen if observation.caption_boxes][:_OBSERVATIONS]
    empty = [observation for observation in seen if not observation.caption_boxes][:_OBSERVATIONS]
    if not visible:
        return _unobserved(block)
    bright = float(np.median(_strengths(block, visible, bright=True)))
    dark = float(np.median(_strengths(block, visible, bright=False)))
    # Outlined bright text responds to both; its fill has the caption's colour.
    is_bright = bright >= 0.8 * dark
    strength = max(_LEAST_STRENGTH, bright if is_bright else dark)
    calibration = Calibration(is_bright, strength, 3 * block.settings.text_energy, len(visible))
    shown = _tops(block, visible, calibration)
    # Some of the frames may have been sampled in the middle of a fade.
    present = float(max(np.percentile(shown, 10), 0.35 * np.median(shown)))
    absent = float(np.percentile(_tops(block, empty, calibration), 75)) if empty else 0.0
    middle = np.sqrt(present * max(absent, 0.05 * present))
    return replace(calibration, presence_energy=float(np.clip(middle, 0.3 * present, 0.6 * present)))


def _unobserved(block: Block) -> Calibration:
    """Calibrate to bright strokes as strong as the block's strongest ones."""
    geometry = block.geometry
    sampled = block.strips[:: max(1, len(block.strips) // _STRIPS)]
    strongest = [np.percentile(geometry.respond(strip, True) * geometry.allowed, 99) for strip in sampled]
    strength = max(_LEAST_STRENGTH, _MEAN_SHARE * float(np.percentile(strongest, 80)))
    return Calibration(True, strength, 3 * block.settings.text_energy)


def _strengths(block: Block, visible: list[Observation], *, bright: bool) -> list[float]:
    """Return the response of each caption box's strokes."""
    geometry = block.geometry
    found = []
    for observation in visible:
        response = geometry.respond(block.strip(observation), bright)
        for box in observation.caption_boxes:
            inside = response[pixels(box, geometry.height, geometry.width)]
            if inside.size:
                # The peak is in the middle of the strokes.
                found.append(_MEAN_SHARE * float(np.percentile(inside, 92)))
    return found


def _tops(block: Block, observations: list[Observation], calibration: Calibration) -> Grid:
    """Return the energy of the strongest windows of each observed strip, (k,)."""
    geometry = block.geometry
    responses = [
        geometry.respond(block.strip(observation), calibration.bright) * geometry.allowed
        for observation in observations
    ]
    values = [relative(response, calibration, block.settings) for response in responses]
    return top_energy(np.stack([geometry.windows(value * value) for value in values]))
