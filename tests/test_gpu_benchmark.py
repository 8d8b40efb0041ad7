"""The script for a GPU machine runs on the CPU: its parts print figures, and say what they left out."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmarks import gpu
from benchmarks.real_clips import RealClip
from captionacc_dagster.demo.sample import make_sample
from modal_gpu.deployment.inference import synthetic_strips


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_the_predictor_is_measured_and_compared_on_any_device(monkeypatch):
    monkeypatch.setattr(gpu, "SECONDS", 0.0)
    lines = list(gpu.pairs_by_block("cpu", (32,), drawn=40, turns=1))
    assert "40 strips of 1180×130" in lines[0] and "pairs a second, torch.float32" in lines[1]
    clip = RealClip(np.stack([strip.luma for strip in synthetic_strips(40)]), gpu.HINTS, [])
    (line,) = gpu.against_the_cpu(clip, "cpu", "drawn")
    assert "the same extents; 0 of 39 labels differ, probabilities by at most 0.00" in line


def test_the_script_says_what_it_cannot_do(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "has_cuda", lambda: False)
    monkeypatch.setattr(gpu, "no_gpu", lambda: gpu.NO_DEVICE)
    monkeypatch.setattr(gpu, "_on_one_thread", lambda drawn: iter(["measured"]))
    monkeypatch.setattr(gpu, "where_time_goes", lambda device: pytest.fail("needs a GPU"))
    monkeypatch.setattr(gpu, "ocr", lambda videos, frames: iter([str(1 / 0)]))
    video = tmp_path / "sample.mp4"
    make_sample(video, duration=2)
    printed = CliRunner().invoke(_app(), ["--quick", str(video)]).output
    assert printed.startswith("GPU: no CUDA device;") and printed.count("left out: no CUDA device") == 3
    assert "measured" in printed and "frames a second" in printed
    assert "ZeroDivisionError" in printed, "a part that fails does not end the script"


def _app():
    import typer

    app = typer.Typer()
    app.command()(gpu.main)
    return app
