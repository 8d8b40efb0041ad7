"""The evaluation of a network on validation clips, and the calibration of its outputs on them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from modal_gpu.extents.decoder import DecoderSettings, decode
from modal_gpu.extents.network import ExtentsNetwork
from modal_gpu.extents.predictor import LABELS, predictions
from training.batches import Batch
from training.dataset import Window, stored_clip, whole_window
from training.scoring import matched


@dataclass
class ClipLogits:
    """A clip's logits and labels as numpy float32 (T,)."""

    case: str
    presence: np.ndarray
    same: np.ndarray
    window: Window


@torch.inference_mode()
def judge_clips(network: ExtentsNetwork, paths: list[Path], device: torch.device) -> list[ClipLogits]:
    """Run entire clips through the network in evaluation mode."""
    network.eval()
    judged = []
    for path in paths:
        clip = stored_clip(path)
        window = whole_window(clip)
        batch = Batch.of([window], device)
        outputs = network(batch.strips, batch.reference, batch.hints)
        presence, same = (x[0].float().cpu().numpy() for x in (outputs.presence, outputs.same))
        judged.append(ClipLogits(clip.case, presence, same, window))
    return judged


def validation_figures(judged: list[ClipLogits], settings: DecoderSettings | None = None) -> dict[str, float]:
    """Return loss and accuracies over all labelled frames and pairs."""

    def entropy(logit: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, logit) - logit * target

    presence_loss, same_loss, right, pairs = [], [], 0.0, 0.0
    found = np.zeros(2)
    called = 0.0
    captions = np.zeros(3)  # captions in the truth, decoded, correct
    for clip in judged:
        window = clip.window
        presence_loss.append(
            np.average(entropy(clip.presence, window.presence), weights=window.presence_weight)
        )
        weight = window.same_weight.copy()
        weight[0] = 0
        if weight.sum():
            same_loss.append(np.average(entropy(clip.same, window.same), weights=weight + 1e-9))
        different = (weight == 1) & (window.same < 0.5)
        found += different.sum(), (different & (clip.same < 0)).sum()
        called += ((weight == 1) & (clip.same < 0)).sum()
        predicted = predictions(_logistic(clip.presence), _logistic(clip.same)[1:])
        probabilities = predicted.forward
        extents = [(extent.start, extent.end) for extent in decode(predicted, settings)]
        wanted = _extents(window)
        captions += len(wanted), len(extents), matched(wanted, extents)
        truth = pair_labels(window)
        clear = (window.presence_weight[1:] > 0.5) & (window.presence_weight[:-1] > 0.5)
        right += (probabilities.argmax(axis=1) == truth)[clear].sum()
        pairs += clear.sum()
    return {
        "caption_f1": float(2 * captions[2] / max(captions[0] + captions[1], 1)),
        "loss": float(np.mean(presence_loss) + np.mean(same_loss)),
        "presence_loss": float(np.mean(presence_loss)),
        "same_loss": float(np.mean(same_loss)),
        "pair_accuracy": float(right / max(pairs, 1)),
        "different_recall": float(found[1] / max(found[0], 1)),
        "different_precision": float(found[1] / max(called, 1)),
    }


def by_case(judged: list[ClipLogits], settings: DecoderSettings | None = None) -> dict[str, dict[str, float]]:
    """Return :func:`validation_figures` for each case that has captions."""
    return {
        case: validation_figures([clip for clip in judged if clip.case == case], settings)
        for case in sorted({clip.case for clip in judged} - {"empty"})
    }


def shortfall(figures: dict[str, float]) -> float:
    """Return the score that compares two networks by their :func:`validation_figures`; smaller is better.

    Captions decide, because hardly visible frames dominate the loss.
    """
    return 1 - figures["caption_f1"] + 0.01 * figures["loss"]


def _extents(window: Window) -> list[tuple[int, int]]:
    """Return the captions' frames as half-open ranges."""
    present = window.presence > 0.5
    begins = present & np.concatenate([[True], ~present[:-1] | (window.same[1:] < 0.5)])
    starts = np.flatnonzero(begins).tolist()
    stops = [*starts[1:], len(present)] if starts else []
    return [
        (start, start + int(present[start:stop].sum())) for start, stop in zip(starts, stops, strict=True)
    ]


def _logistic(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def pair_labels(window: Window) -> np.ndarray:
    """Return the column of the true label of each pair, int (T − 1,)."""
    before, after = window.presence[:-1] > 0.5, window.presence[1:] > 0.5
    names = np.where(
        before & after,
        np.where(window.same[1:] > 0.5, "same", "different"),
        np.where(before, "valid_empty", np.where(after, "empty_valid", "empty_empty")),
    )
    return np.array([LABELS.index(name) for name in names])


def _platt(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the scale and bias with which logits ``x`` best fit targets ``y`` under weights ``w``."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    prior = np.array([1.0, 0.0])

    def loss(fitted: np.ndarray) -> float:
        z = design @ fitted
        return float((w * (np.logaddexp(0, z) - y * z)).sum() + 5e-4 * ((fitted - prior) ** 2).sum())

    fitted = prior.copy()
    for _ in range(50):
        p = np.exp(-np.logaddexp(0, -(design @ fitted)))
        gradient = design.T @ (w * (p - y)) + 1e-3 * (fitted - prior)
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design + 1e-3 * np.eye(2)
        step, size = np.linalg.solve(hessian, gradient), 1.0
        # Far from the optimum, where probabilities are 0 or 1, a full Newton step overshoots.
        while size > 1e-9 and loss(fitted - size * step) > loss(fitted):
            size /= 2
        fitted = fitted - size * step
    return fitted


def _fits(judged: list[ClipLogits]) -> dict[str, np.ndarray]:
    """Return the scale and bias with which each output's logits best fit the labels (Platt scaling)."""
    fits = {}
    for name, weight_name in (("presence", "presence_weight"), ("same", "same_weight")):
        logits, targets, weights = [], [], []
        for clip in judged:
            from_second = slice(0 if name == "presence" else 1, None)
            logits.append(getattr(clip, name)[from_second])
            targets.append(getattr(clip.window, name)[from_second])
            weights.append(getattr(clip.window, weight_name)[from_second])
        x, y, w = (np.concatenate(parts).astype(np.float64) for parts in (logits, targets, weights))
        fits[name] = _platt(x, y, w)
    return fits


def fitted(judged: list[ClipLogits]) -> list[ClipLogits]:
    """Return the logits calibrated, with the class weights of the training loss removed."""
    (a, b), (c, d) = (fit for fit in _fits(judged).values())
    return [replace(clip, presence=a * clip.presence + b, same=c * clip.same + d) for clip in judged]


def calibrate(network: ExtentsNetwork, judged: list[ClipLogits]) -> None:
    """Fit scale and bias of both outputs on validation clips, and store them in the network."""
    for row, fit in enumerate(_fits(judged).values()):
        old = network.calibration[row].double().cpu().numpy()
        # The logits already include the old scale and bias.
        new = (fit[0] * old[0], fit[0] * old[1] + fit[1])
        network.calibration[row] = torch.tensor(new, dtype=network.calibration.dtype)
