"""Training: an interrupted run ends as an uninterrupted one; the written model is what was trained."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from modal_gpu.extents.checkpoint import shipped
from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings, folded
from modal_gpu.extents.torch_checkpoint import load_checkpoint
from training.batches import Clips, batches
from training.card import markdown
from training.clip import Clip
from training.dataset import stored_clip
from training.optimizer import MuonAndAdamW
from training.rendering import make_clip
from training.schedule import Cycle, TrainingSettings
from training.train import Trainer, finish, losses, mean_of, train_in_processes
from training.validation import calibrate, judge_clips, validation_figures

TINY = NetworkSettings(stem=4, width=8, blocks=1, compared=4, head=4, temporal=8)


@pytest.fixture(scope="module")
def paths(footage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for seed, case in enumerate(("plain", "one_character", "logo", "no_gap")):
        made.append(folder / f"{seed}.npz")
        make_clip(seed, "train", case, footage, frames=16).save(made[-1])
    return made


@pytest.fixture
def settings():
    cycles = (
        Cycle(8, 3e-3, batch=2, frames=8, width=96, focused_share=0.5),
        Cycle(
            8, 1e-3, batch=2, frames=8, width=128, long_frames=12, long_width=96, faint_share=0.5, folded=True
        ),
        Cycle(4, 1e-3, batch=2, frames=8, width=96, folded=True, averaged=True),
    )
    return TrainingSettings(cycles, save_every=2, network=TINY)


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(paths, settings, tmp_path):
    device = torch.device("cpu")
    whole = Trainer(settings, tmp_path / "whole", device)
    clips = Clips(paths, paths[:2], paths[2:])
    whole.run(clips)
    for until in (5, 8, 11, 16, 17):
        part = Trainer(settings, tmp_path / "parts", device)
        part.run(clips, until)
        assert part.step == until
    resumed = Trainer(settings, tmp_path / "parts", device)
    assert resumed.step == 17
    resumed.run(clips)
    for kind in ("network", "before", "average"):
        found = getattr(resumed, kind).state_dict()
        for name, value in getattr(whole, kind).state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=0)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [8, 16, 20]


@pytest.mark.slow
def test_processes_share_the_windows_of_a_step_and_average_their_gradients(paths, settings, tmp_path):
    clips, device = Clips(paths, paths[:2], paths[2:]), torch.device("cpu")
    train_in_processes(2, settings, tmp_path / "two", clips, until=1)
    two = Trainer(settings, tmp_path / "two", device)
    assert two.step == 1

    one = Trainer(settings, tmp_path / "one", device)
    one.network.train()
    for rank in range(2):
        step, batch = next(batches(0, clips, settings, device, rank, processes=2))
        outputs = one.network(batch.strips, batch.reference, batch.hints)
        (losses(outputs, batch, settings, settings.cycles[0].different_weight)["total"] / 2).backward()
    torch.nn.utils.clip_grad_norm_(one.network.parameters(), 2.0)
    one.optimizer.step(one.rate(step))
    for expected, found in zip(one.network.parameters(), two.network.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_each_cycle_begins_at_its_own_rate_and_ends_at_a_hundredth(tmp_path):
    settings = TrainingSettings(network=TINY)
    rate = Trainer(settings, tmp_path, torch.device("cpu")).rate
    begin = 0
    for cycle in settings.cycles:
        rates = [rate(step) for step in range(begin, begin + cycle.steps)]
        assert max(rates) == pytest.approx(cycle.rate)
        assert rates[0] < 0.02 * cycle.rate and rates[-1] == pytest.approx(0.01 * cycle.rate, rel=0.01)
        begin += cycle.steps


def test_a_shorter_training_keeps_its_cycles_shares():
    settings = TrainingSettings(network=TINY)
    half = settings.shortened(settings.steps // 2)
    for cycle, whole in zip(half.cycles, settings.cycles, strict=True):
        assert cycle.steps == pytest.approx(whole.steps / 2, abs=2)
    assert min(cycle.steps for cycle in settings.shortened(1).cycles) > 0


def test_a_long_clip_has_its_own_reference_picture(paths, monkeypatch):
    """It is the picture that the predictor computes for a video without other stored strips."""
    clip = Clip.load(paths[0])
    assert (stored_clip(paths[0]).reference == clip.reference).all()
    monkeypatch.setattr("training.dataset.LONG_FRAMES", len(clip.luma))
    np.testing.assert_array_equal(
        stored_clip(paths[0], strips=3).reference, np.median(clip.luma[[0, 8, 15]], axis=0).astype(np.uint8)
    )


def test_a_run_with_other_settings_is_not_continued(paths, settings, tmp_path):
    Trainer(settings, tmp_path, torch.device("cpu")).save()
    with pytest.raises(Exception, match="other settings"):
        Trainer(TrainingSettings(network=TINY), tmp_path, torch.device("cpu"))


def test_the_written_model_is_the_best_one_calibrated(paths, settings, tmp_path):
    trainer = Trainer(settings, tmp_path / "run", torch.device("cpu"))
    trainer.run(Clips(paths, paths[:2]))
    checkpoint = finish(trainer, paths, "tiny-1", tmp_path / "models", "python -m training.train")
    network, loaded = load_checkpoint(checkpoint.path)
    assert loaded.sha256 == checkpoint.sha256 and checkpoint.path.name.startswith("tiny-1_")
    best = trainer.best_network()
    torch.testing.assert_close(network.projection.weight, best.projection.weight)
    card = json.loads(checkpoint.path.with_suffix(".json").read_text())
    assert card["sha256"] == checkpoint.sha256 and "all" in card["validation"]


def test_a_run_starts_from_a_model(paths, settings, tmp_path):
    torch.manual_seed(5)
    model = ExtentsNetwork(TINY).eval()
    model.calibration[:] = torch.tensor([[2.0, 1.0], [3.0, -1.0]])
    trainer = Trainer(replace(settings, start="tiny-0"), tmp_path / "run", torch.device("cpu"), model)
    for clip, expected in zip(
        *(judge_clips(x, paths, trainer.device) for x in (trainer.network, model)), strict=True
    ):
        np.testing.assert_allclose(2 * clip.presence + 1, expected.presence, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(3 * clip.same - 1, expected.same, rtol=1e-4, atol=1e-4)


def test_an_averaged_cycle_comes_to_the_mean_of_before_and_after_and_the_next_begins_there(
    paths, settings, tmp_path
):
    began = folded(ExtentsNetwork(TINY).eval())
    settings = replace(settings, cycles=settings.cycles[-1:] * 2, network=began.settings)
    trainer = Trainer(settings, tmp_path, torch.device("cpu"), began)
    trainer.run(Clips(paths, paths[:1]), until=4)
    expected = mean_of(began, trainer.average).state_dict()
    best = trainer.best_network().state_dict()  # for one validation
    trainer.run(Clips(paths, paths[:1]), until=5)
    for name, value in expected.items():
        torch.testing.assert_close(best[name], value)
        torch.testing.assert_close(trainer.before.state_dict()[name], value)


def test_kernels_and_other_parameters_have_separate_optimizers():
    network = ExtentsNetwork(TINY).to(memory_format=torch.channels_last)
    before = copy.deepcopy(network.state_dict())
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    MuonAndAdamW(network, weight_decay=0.0).step(0.01)
    assert all(parameter.grad is None for parameter in network.parameters())
    kernel = network.encoder[1][0].weight
    moved = (kernel.detach() - before["encoder.1.0.weight"]).flatten(1)
    # Muon's steps are nearly orthogonal: singular values of about one size, as long as AdamW's steps.
    sizes = torch.linalg.svdvals(moved)
    assert sizes.max() < 2 * sizes.min()
    assert moved.square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.3)
    # AdamW's first step has the same length everywhere.
    torch.testing.assert_close(
        (network.text_out.weight - before["text_out.weight"]).abs(),
        torch.full_like(network.text_out.weight, 0.01),
    )


def test_the_mean_of_two_networks_lies_half_way():
    torch.manual_seed(0)
    one, other = ExtentsNetwork(TINY).eval(), ExtentsNetwork(TINY).eval()
    mean = mean_of(one, folded(other))
    for name, value in folded(one).named_parameters():
        expected = 0.5 * value + 0.5 * folded(other).state_dict()[name]
        torch.testing.assert_close(mean.state_dict()[name], expected)


def test_calibration_lowers_the_loss_of_overconfident_logits(paths, settings):
    torch.manual_seed(0)
    network = ExtentsNetwork(TINY)
    network.calibration[:] = torch.tensor([[40.0, 3.0], [40.0, -3.0]])
    before = validation_figures(judge_clips(network, paths, torch.device("cpu")))["loss"]
    calibrate(network, judge_clips(network, paths, torch.device("cpu")))
    after = validation_figures(judge_clips(network, paths, torch.device("cpu")))["loss"]
    assert np.isfinite(after) and after < before


def test_the_shipped_model_has_the_card_that_its_figures_give():
    """The measured results, which the benchmark prints, are not compared."""
    written = shipped().with_suffix(".md").read_text()
    made = markdown(json.loads(shipped().with_suffix(".json").read_text()), None)
    assert set(made.splitlines()) <= set(written.splitlines())
