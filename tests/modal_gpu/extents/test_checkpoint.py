"""Model files: verified by their names, refused when anything is wrong with them."""

import subprocess
import sys

import pytest
import torch

from modal_gpu.errors import CaptionAccError
from modal_gpu.extents import checkpoint
from modal_gpu.extents.checkpoint import CheckpointError, graphs_of, shipped, verify_graph
from modal_gpu.extents.export import export
from modal_gpu.extents.network import ExtentsNetwork, NetworkSettings
from modal_gpu.extents.predictors import load_predictor
from modal_gpu.extents.torch_checkpoint import load_checkpoint, save_checkpoint

SMALL = NetworkSettings(stem=4, width=8, blocks=1, compared=4, head=4, temporal=8)


@pytest.fixture
def stored(tmp_path):
    torch.manual_seed(0)
    return save_checkpoint(ExtentsNetwork(SMALL), "test-1", tmp_path)


def test_a_stored_network_is_read_back_with_its_version_and_hash(stored):
    network, read = load_checkpoint(stored.path)
    assert (read.version, read.sha256) == ("test-1", stored.sha256)
    assert network.settings == SMALL
    export(stored.path)
    predictor = load_predictor(stored.path, device="cpu")
    assert predictor.model_version == "test-1" and predictor.model_sha256 == stored.sha256


def test_the_same_weights_give_the_same_file(stored, tmp_path):
    network, _ = load_checkpoint(stored.path)
    assert save_checkpoint(network, "test-1", tmp_path / "again").sha256 == stored.sha256


def test_a_file_that_is_not_what_its_name_says_is_refused(stored):
    data = bytearray(stored.path.read_bytes())
    data[-1] ^= 1
    stored.path.write_bytes(data)
    with pytest.raises(CheckpointError, match="sha256"):
        load_checkpoint(stored.path)


def test_a_file_without_a_hash_in_its_name_is_refused(stored):
    renamed = stored.path.rename(stored.path.with_name("model.safetensors"))
    with pytest.raises(CheckpointError, match="verified"):
        load_checkpoint(renamed)


def test_a_missing_model_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "gone-1_00000000.safetensors")
    monkeypatch.setattr(checkpoint, "MODELS", tmp_path)
    with pytest.raises(CheckpointError, match="none"):
        load_predictor()
    assert issubclass(CheckpointError, CaptionAccError)


def test_weights_of_another_network_are_refused(stored, tmp_path):
    import hashlib

    from safetensors.torch import save

    for data in (save({"x": torch.zeros(2)}, {"settings": "{}"}), save({"x": torch.zeros(2)}), b"no tensors"):
        path = tmp_path / f"other-1_{hashlib.sha256(data).hexdigest()[:8]}.safetensors"
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="does not contain"):
            load_checkpoint(path)


def test_an_export_is_the_same_to_the_byte_and_replaces_an_earlier_one(stored):
    first = export(stored.path)
    earlier = first.path.with_name(first.path.name.replace(first.sha256[:8], "0" * 8))
    earlier.write_bytes(b"an earlier version of the exporter")
    again = export(stored.path)
    assert again == first and graphs_of(stored.path) == [first.path]
    assert verify_graph(first.path) == first


def test_a_checkpoint_without_its_graph_names_the_command_that_makes_it(stored):
    with pytest.raises(CheckpointError, match="captionacc model upload"):
        load_predictor(stored.path, device="cpu")


def test_a_damaged_graph_and_the_graph_of_another_checkpoint_are_refused(stored):
    graph = export(stored.path)
    data = bytearray(graph.path.read_bytes())
    data[-1] ^= 1
    graph.path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load_predictor(stored.path, device="cpu")
    graph.path.unlink()
    (other,) = graphs_of(shipped())
    wrong = f"{stored.path.stem}.{verify_graph(other).sha256[:8]}.onnx"
    stored.path.with_name(wrong).write_bytes(other.read_bytes())
    with pytest.raises(CheckpointError, match="not exported from"):
        load_predictor(stored.path, device="cpu")


def test_a_file_that_is_no_graph_is_refused(stored):
    import hashlib

    data = b"no graph"
    name = f"{stored.path.stem}.{hashlib.sha256(data).hexdigest()[:8]}.onnx"
    stored.path.with_name(name).write_bytes(data)
    with pytest.raises(CheckpointError, match="does not contain"):
        load_predictor(stored.path, device="cpu")


def test_the_shipped_graph_is_what_the_shipped_checkpoint_exports_to(tmp_path):
    (graph,) = graphs_of(shipped())
    assert export(shipped(), tmp_path).path.name == graph.name
    assert graph.stat().st_size < 5_000_000


def test_a_cpu_judges_without_pytorch_and_says_what_needs_it(tmp_path):
    """Both hold in an environment where torch cannot be imported."""
    code = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
sys.modules["torch"] = None
import captionacc_dagster.definitions
from modal_gpu.extents.checkpoint import CheckpointError, shipped
from modal_gpu.extents.predictors import load_predictor
from modal_gpu.extents.torch_checkpoint import load_checkpoint
assert load_predictor().device == "cpu"
try:
    load_checkpoint(shipped())
except CheckpointError as error:
    assert "captionacc-dagster[training]" in str(error)
else:
    raise AssertionError("torch was found")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_shipped_model_is_small_verified_and_has_its_card():
    path = checkpoint.shipped()
    predictor = load_predictor(device="cpu")
    assert path.stat().st_size < 5_000_000
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert predictor.model_sha256 in card and predictor.model_version in card
