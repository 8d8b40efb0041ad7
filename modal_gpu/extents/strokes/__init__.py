"""Classical pair predictor, without a learned model: it compares caption strokes of neighbouring strips."""

from modal_gpu.extents.strokes.predictor import StrokePredictor, StrokeSettings

__all__ = ["StrokePredictor", "StrokeSettings"]
