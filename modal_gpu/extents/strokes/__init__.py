"""Classical pair predictor, without a learned model: compares caption strokes of neighbouring strips."""

from modal_gpu.extents.strokes.predictor import StrokePredictor
from modal_gpu.extents.strokes.settings import StrokeSettings

__all__ = ["StrokePredictor", "StrokeSettings"]
