"""Model files in a folder and on a volume: the same commands, the same refusals."""

import hashlib
import json
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import modal
import pytest
import torch
from modal.types import FileEntry, FileEntryType

from captionacc_dagster import cli as command_line
from captionacc_dagster.cli.root import console
from captionacc_dagster.settings import get_settings
from modal_gpu.deployment.inference import synthetic_strips
from modal_gpu.deployment.models import FolderModels, VolumeModels, add_model, resolve_model, verify_models
from modal_gpu.deployment.settings import ModalSettings
from modal_gpu.extents.checkpoint import CheckpointError, checkpoint_of, is_graph_name, shipped
from modal_gpu.extents.export import export
from modal_gpu.extents.predictor import StripHints, collect
from modal_gpu.extents.predictors import load_predictor
from modal_gpu.extents.torch_checkpoint import load_checkpoint, save_checkpoint
from modal_gpu.functions.settings import ComputeSettings
from tests.modal_gpu.deployment.conftest import TINY, tiny_network

Run = Callable[..., tuple[int, str]]


class Volume:
    """The used part of ``modal.Volume``, over a dictionary."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def hydrate(self) -> "Volume":
        return self

    def listdir(self, path: str, *, recursive: bool = False) -> list[FileEntry]:
        folder = path.strip("/") + "/"
        found = {name: data for name, data in self.files.items() if name.startswith(folder)}
        if not found:
            raise modal.exception.NotFoundError(f"No such file or directory {path}.")
        return [FileEntry(name, FileEntryType.FILE, 1_790_000_000, len(data)) for name, data in found.items()]

    def read_file(self, path: str) -> Iterator[bytes]:
        if path not in self.files:
            raise FileNotFoundError(path)
        data = self.files[path]
        yield data[:1000]
        yield data[1000:]

    @contextmanager
    def batch_upload(self, force: bool = False) -> Iterator["Volume"]:
        self.force = force
        yield self

    def put_file(self, source: Any, remote_path: str) -> None:
        assert self.force or remote_path.strip("/") not in self.files
        self.files[remote_path.strip("/")] = source.read()


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> Volume:
    """The volume ``boundary-models`` of an account that has nothing else."""
    volume = Volume()

    def from_name(name: str, *, environment_name: str | None, create_if_missing: bool = False) -> Volume:
        assert name == "boundary-models"
        return volume

    monkeypatch.setattr(modal.Volume, "from_name", from_name)
    return volume


@pytest.fixture(params=["folder", "volume"])
def place(request: pytest.FixtureRequest, volume: Volume, tmp_path: Path) -> list[str]:
    """The options of a command that name the folder, or the volume."""
    return ["--modal"] if request.param == "volume" else ["--folder", str(tmp_path / "models")]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``captionacc`` with arguments; return its exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "_width", 300)
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(command_line.signal, "signal", lambda *_: None)

    def run(*arguments: object) -> tuple[int, str]:
        get_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["captionacc", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
            raise SystemExit(0)
        captured = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((captured.out + captured.err).split())

    yield run
    get_settings.cache_clear()


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A trained network as safetensors, under a name of its own."""
    made = save_checkpoint(tiny_network(), "x", tmp_path / "trained")
    return made.path.rename(tmp_path / "best.safetensors")


def stored_file(
    place: list[str], volume: Volume, name: str
) -> tuple[Callable[[], bytes], Callable[[bytes], None]]:
    """Functions to read and to damage a stored model."""
    if place == ["--modal"]:
        key = f"checkpoints/{name}"
        return lambda: volume.files[key], lambda data: volume.files.update({key: data})
    path = Path(place[1]) / "checkpoints" / name
    return path.read_bytes, path.write_bytes


def test_a_model_is_stored_listed_and_verified(run: Run, place, volume: Volume, trained: Path):
    code, said = run("model", "list", *place)
    assert code == 0 and "no models. New results name extents-" in said
    assert f" {shipped().name} " in said and "shipped yes" in said
    code, said = run("model", "upload", "--checkpoint", trained, "--model-version", "extents-9", *place)
    digest = hashlib.sha256(trained.read_bytes()).hexdigest()
    name = f"extents-9_{digest[:8]}.safetensors"
    assert code == 0 and f"{name} stored" in said and f"EXTENTS_MODEL={name}" in said
    read, damage = stored_file(place, volume, name)
    assert read() == trained.read_bytes()

    code, said = run("model", "upload", "--checkpoint", trained, "--model-version", "extents-9", *place)
    assert code == 0 and f"{name} is already stored" in said
    code, said = run("model", "list", *place)
    assert code == 0 and "1 model." in said and name in said
    code, said = run("model", "verify", *place)
    assert code == 0 and f"✓ {name}: sha256 {digest}" in said and said.count("✓") == 2

    damage(read()[:-1] + b"!")
    code, said = run("model", "verify", *place)
    assert code == 1 and f"✗ {name}" in said and "damaged or was changed" in said


def test_one_of_several_is_verified_and_a_missing_one_is_an_error(run: Run, place, volume, trained):
    for version in ("a-1", "a-2"):
        assert run("model", "upload", "--checkpoint", trained, "--model-version", version, *place)[0] == 0
    name = f"a-2_{hashlib.sha256(trained.read_bytes()).hexdigest()[:8]}.safetensors"
    code, said = run("model", "verify", name, *place)
    assert code == 0 and "a-1" not in said
    code, said = run("model", "verify", "a-3_00000000.safetensors", *place)
    assert code == 1 and "there is no model file a-3_00000000.safetensors" in said
    code, said = run("model", "verify", "notes.txt", *place)
    assert code == 1 and "is not named version_sha256.safetensors" in said


@pytest.mark.parametrize("form", ["with settings", "state alone"])
def test_a_pt_file_becomes_safetensors(tmp_path: Path, shipped_model, form: str):
    network, file = tiny_network(seed=3), tmp_path / "best.pt"
    state = network.state_dict()
    torch.save({"settings": asdict(TINY), "model": state} if form == "with settings" else state, file)
    store = FolderModels(tmp_path / "models")
    checkpoint, is_new = add_model(store, file, "extents-9")
    graphs = [model.name for model in store.list() if is_graph_name(model.name)]
    assert is_new and len(graphs) == 1 and graphs[0].startswith(f"{checkpoint.path.stem}.")
    assert {model.name for model in store.list()} == {checkpoint.path.name, *graphs}
    loaded, _ = load_checkpoint(tmp_path / "models" / "checkpoints" / checkpoint.path.name)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("graph", [True, False])
def test_a_pt_file_beside_the_others_can_be_chosen(tmp_path: Path, trained: Path, shipped_model, graph: bool):
    """Without a GPU its graph runs it, or PyTorch where it has none; the results are the same."""
    network = tiny_network(seed=3)
    file = tmp_path / "models" / "checkpoints" / "best.pt"
    file.parent.mkdir(parents=True)
    torch.save({"settings": asdict(TINY), "model": network.state_dict()}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file = file.rename(file.with_name(f"extents-9_{digest[:8]}.pt"))
    if graph:
        export(file)
    chosen = resolve_model(file.name, tmp_path / "models")
    predictor = load_predictor(chosen, device="cpu")
    assert (predictor.model_version, predictor.model_sha256) == ("extents-9", digest)
    assert type(predictor.backend).__name__ == ("OnnxBackend" if graph else "TorchBackend")
    converted, _ = add_model(FolderModels(tmp_path / "known"), file, "extents-9")
    known = tmp_path / "known" / "checkpoints" / converted.path.name
    strips = list(synthetic_strips(96))
    expected = collect(load_predictor(known, device="cpu").predict(strips, StripHints(line_height=0.4)))
    found = collect(predictor.predict(strips, StripHints(line_height=0.4)))
    assert abs(found.forward - expected.forward).max() < 1e-3
    assert ModalSettings(EXTENTS_MODEL=file.name).extents_model == file.name
    assert [verdict.problem for verdict in verify_models(FolderModels(tmp_path / "models"))] == [""] * (
        1 + graph
    )
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="not the one in its name"):
        load_predictor(file, device="cpu")


def test_a_version_names_its_file_or_the_shipped_one(tmp_path: Path, trained: Path, shipped_model):
    folder = tmp_path / "models" / "checkpoints"
    stored, _ = add_model(FolderModels(tmp_path / "models"), trained, "extents-9")
    assert checkpoint_of("extents-9", folder) == checkpoint_of(stored.path.name, folder)
    assert checkpoint_of("made-1", folder) == checkpoint_of("made-1", None) == shipped()
    with pytest.raises(CheckpointError, match=r"no extents model extents-8 \(stored: extents-9, made-1\)"):
        checkpoint_of("extents-8", folder)
    save_checkpoint(tiny_network(seed=5), "extents-9", folder)
    with pytest.raises(CheckpointError, match="has several files, name one: extents-9_"):
        checkpoint_of("extents-9", folder)


class Runs:
    """Something that would run code where it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("was-run"),))


@pytest.mark.parametrize("content", ["code", "other network", "text", "truncated"])
def test_an_unusable_network_is_refused_and_not_stored(
    tmp_path: Path, shipped_model, trained: Path, content: str, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "best.pt"
    if content == "code":
        torch.save({"model": Runs()}, file)
    elif content == "other network":
        torch.save(torch.nn.Linear(2, 2).state_dict(), file)
    elif content == "text":
        file.write_text("a note")
    else:
        file = tmp_path / "cut.safetensors"
        file.write_bytes(trained.read_bytes()[:-100])
    store = FolderModels(tmp_path / "models")
    with pytest.raises(CheckpointError, match="does not contain this version's network"):
        add_model(store, file, "extents-9")
    assert store.list() == [] and not Path("was-run").exists()


@pytest.mark.parametrize("version", ["../up", "", "a b", "a/b"])
def test_a_version_that_cannot_be_a_file_name_is_refused(tmp_path: Path, trained: Path, version: str):
    with pytest.raises(CheckpointError, match="model version"):
        add_model(FolderModels(tmp_path / "models"), trained, version)


def test_the_chosen_model_is_used_for_predictions(tmp_path: Path, trained: Path, shipped_model):
    root = tmp_path / "models"
    chosen, _ = add_model(FolderModels(root), trained, "extents-9")
    path = resolve_model(chosen.path.name, root)
    predictor = ComputeSettings(extents_predictor="network", extents_model=path).predictor()
    assert (predictor.model_version, predictor.model_sha256) == ("extents-9", chosen.sha256)
    assert resolve_model(str(path), tmp_path) == path
    assert ComputeSettings(extents_predictor="network").predictor().model_version == "made-1"
    path.write_bytes(path.read_bytes() + b"x")
    from modal_gpu.functions import settings

    settings._kept_network.cache_clear()
    with pytest.raises(CheckpointError, match="not the one in its name"):
        ComputeSettings(extents_predictor="network", extents_model=path).predictor()
    with pytest.raises(CheckpointError, match=f"stored: {chosen.path.name}"):
        resolve_model("extents-8_00000000.safetensors", root)


def test_without_options_the_folder_follows_the_home_and_the_volume_modal_enabled(
    run: Run, volume: Volume, trained: Path, tmp_path: Path, monkeypatch
):
    upload = ("model", "upload", "--checkpoint", trained, "--model-version", "m-1")
    assert "folder" in run(*upload)[1]
    assert len(list((tmp_path / "home" / "models" / "checkpoints").iterdir())) == 2 and not volume.files
    monkeypatch.setenv("MODAL_ENABLED", "true")
    assert "Modal volume boundary-models" in run(*upload)[1]
    assert len(volume.files) == 2
    assert "no Modal" not in run("model", "list", "--local")[1]
    code, said = run("model", "list", "--modal", "--folder", tmp_path)
    assert code == 2 and "not both" in said


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (modal.exception.AuthError("Token missing."), "captionacc doctor --modal"),
        (modal.exception.NotFoundError("No such volume."), "modal volume create boundary-models"),
        (modal.exception.ConnectionError("no route"), "Modal failed"),
    ],
)
def test_an_error_of_modal_is_explained_in_one_sentence(
    run: Run, volume: Volume, monkeypatch, error, message: str
):
    def hydrate():
        raise error

    monkeypatch.setattr(volume, "hydrate", hydrate)
    code, said = run("model", "list", "--modal")
    assert code == 1 and said.startswith("error:") and message in said


class TestWeightsAndBiases:
    ARTIFACT = "lab/captions/extents:v3"

    @pytest.fixture
    def artifact(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
        """The files of an artifact, given by a stand-in for the package ``wandb``."""
        files: dict[str, bytes] = {}

        class Api:
            def artifact(self, name: str) -> "Api":
                if name != TestWeightsAndBiases.ARTIFACT:
                    raise ValueError(f"artifact {name} not found")
                return self

            def download(self, root: str) -> str:
                for name, data in files.items():
                    path = Path(root) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
                return root

        module = types.ModuleType("wandb")
        module.Api = Api
        monkeypatch.setitem(sys.modules, "wandb", module)
        return files

    def test_an_artifacts_model_is_stored(self, run: Run, place, volume, artifact, trained: Path):
        artifact |= {"run/best.safetensors": trained.read_bytes(), "config.json": json.dumps({}).encode()}
        code, said = run("model", "import-wandb", self.ARTIFACT, "--model-version", "wb-3", *place)
        assert code == 0 and "wb-3_" in said and "stored" in said
        assert run("model", "verify", *place)[0] == 0

    @pytest.mark.parametrize(
        ("name", "files", "message"),
        [
            ("extents:v3", {}, "is not ENTITY/PROJECT/ARTIFACT:ALIAS"),
            ("lab/captions/other:v1", {}, "cannot be downloaded: artifact lab/captions/other:v1 not found"),
            (ARTIFACT, {"notes.txt": b""}, "contains none"),
            (ARTIFACT, {"a.pt": b"", "b.pt": b""}, "contains a.pt, b.pt"),
        ],
    )
    def test_an_artifact_that_cannot_be_imported_is_explained(
        self, run: Run, artifact, name: str, files, message: str
    ):
        artifact |= files
        code, said = run("model", "import-wandb", name, "--model-version", "wb-3", "--local")
        assert code == (2 if "is not ENTITY" in message else 1) and message in said

    def test_without_the_extra_it_explains_how_to_install_it(self, run: Run, monkeypatch):
        monkeypatch.setitem(sys.modules, "wandb", None)
        code, said = run("model", "import-wandb", self.ARTIFACT, "--model-version", "wb-3", "--local")
        assert code == 1 and "pip install 'captionacc-dagster[wandb]'" in said


def test_a_failing_volume_is_not_mistaken_for_an_empty_one(volume: Volume, monkeypatch):
    def listdir(path):
        raise modal.exception.ConnectionError("lost")

    monkeypatch.setattr(volume, "listdir", listdir)
    with pytest.raises(modal.exception.ConnectionError):
        verify_models(VolumeModels(volume, "boundary-models"))
