"""``python -m training.least_change`` on clips that are in the cache already."""

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings
from modal_gpu.extents.torch_checkpoint import save_checkpoint
from training import dataset, least_change
from training.dataset import VARIED_VALIDATION, ClipStore, validation_clips
from training.rendering import make_clip
from training.schedule import TrainingSettings

TINY = NetworkSettings(stem=4, width=8, blocks=1, compared=4, head=4, temporal=8)


@pytest.fixture
def store(footage, tmp_path, monkeypatch):
    """A cache with one validation clip of each kind."""
    monkeypatch.setattr(dataset, "LONG_FRAMES", 24)
    store = ClipStore(tmp_path / "cache", tmp_path, frames=16)
    long_store = replace(store, frames=24)
    for each, number in ((store, 0), (long_store, 0), (long_store, VARIED_VALIDATION)):
        path = each.path("validation", number)
        path.parent.mkdir(parents=True, exist_ok=True)
        make_clip(number, "validation", "plain", footage, frames=each.frames).save(path)
    return store


def test_validation_clips_are_short_long_and_varied(store):
    paths = validation_clips(store, 1)
    assert [int(path.stem) for path in paths] == [0, 0, VARIED_VALIDATION]
    assert len({path.parent for path in paths}) == 2


def test_each_value_has_its_line(store, tmp_path, monkeypatch):
    torch.manual_seed(0)
    checkpoint = save_checkpoint(ExtentsNetwork(TINY).eval(), "tiny-1", tmp_path / "models")
    monkeypatch.setattr(least_change, "ClipStore", lambda cache, backgrounds: store)
    monkeypatch.setattr(TrainingSettings, "validation", 1)
    app = least_change.typer.Typer()
    app.command()(least_change.main)
    said = CliRunner().invoke(
        app, ["--backgrounds", str(tmp_path), "--model", str(checkpoint.path)], catch_exceptions=False
    )
    lines = said.output.splitlines()
    assert lines[0].startswith("least_change")
    assert [float(line.split()[0]) for line in lines[1:]] == list(least_change.VALUES)
    assert all(0 <= float(figure) <= 1 for line in lines[1:] for figure in line.split()[1:3])
