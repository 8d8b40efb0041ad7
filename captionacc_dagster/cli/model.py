"""``model``: checkpoints of the extents network, on the Modal volume or in a folder."""

import importlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli import json_operation_models as models
from captionacc_dagster.cli.app import parts
from captionacc_dagster.cli.clocks import moment
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.root import app, console, printable, say
from captionacc_dagster.cli.usage import usage_error
from captionacc_dagster.platform.homes import make_home
from captionacc_dagster.settings import Settings
from modal_gpu.deployment.models import (
    FolderModels,
    ModelStore,
    Verdict,
    VolumeModels,
    add_model,
    verify_models,
)
from modal_gpu.deployment.settings import MODEL_VOLUME, modal_settings
from modal_gpu.errors import CaptionAccError, ConfigurationError, RemoteUnavailableError
from modal_gpu.extents.checkpoint import (
    Checkpoint,
    CheckpointError,
    chosen_version,
    is_graph_name,
    shipped,
    version_of,
)

model_app = typer.Typer(help="Store, list and verify models of the extents network.", no_args_is_help=True)
app.add_typer(model_app, name="model")

OnModal = Annotated[
    bool | None,
    typer.Option(
        "--modal/--local", help="the Modal volume or a local folder; default: as MODAL_ENABLED says"
    ),
]
Folder = Annotated[
    Path | None, typer.Option(help="a folder other than `models` in CAPTIONACC_HOME", file_okay=False)
]
Version = Annotated[
    str, typer.Option("--model-version", help="version recorded with results, such as extents-2")
]


@model_app.command()
def upload(
    checkpoint: Annotated[
        Path, typer.Option(help="a .safetensors file, or a .pt file of tensors only", dir_okay=False)
    ],
    model_version: Version,
    modal: OnModal = None,
    folder: Folder = None,
) -> None:
    """Store a trained model under its version and hash."""
    with _store(modal, folder, create=True) as store:
        _report_added(store, *add_model(store, checkpoint, model_version))


@model_app.command(name="list")
def list_models(modal: OnModal = None, folder: Folder = None, as_json: AsJson = False) -> None:
    """List the models that can be chosen: the shipped one and the stored ones."""
    settings = parts().settings
    chosen = modal_settings() if _is_on_modal(settings, modal, folder) else settings
    is_network, in_use = chosen.extents_predictor == "network", chosen.extents_model
    with _store(modal, folder) as store:
        stored = [model for model in store.list() if not is_graph_name(model.name)]
        place = store.place
    own, version = shipped(), chosen_version(chosen.extents_predictor, chosen.extents_model)
    models_ = [
        models.Model(
            name=own.name,
            version=version_of(own.name),
            shipped=True,
            in_use=is_network and not in_use,
            size_bytes=own.stat().st_size,
            stored_at=None,
        )
    ]
    models_ += [
        models.Model(
            name=model.name,
            version=version_of(model.name),
            shipped=False,
            in_use=is_network and Path(in_use).name == model.name,
            size_bytes=model.size,
            stored_at=datetime.fromtimestamp(model.modified, UTC),
        )
        for model in stored
    ]
    found = models.Models(place=place, in_use=version, models=models_)
    if as_json:
        print_json(found)
    else:
        _print_models(found)


def _print_models(found: models.Models) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "size", "stored", "in use"):
        table.add_column(heading, no_wrap=True)
    for model in found.models:
        stored = "shipped" if model.stored_at is None else moment(model.stored_at)
        table.add_row(model.name, f"{model.size_bytes / 1e6:.1f} MB", stored, "yes" if model.in_use else "")
    console.print(table, highlight=False, markup=False)
    count = len(found.models) - 1
    say(f"{found.place}: {count or 'no'} model{'' if count == 1 else 's'}. New results name {found.in_use}.")


@model_app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]…", help="model files; default: all")
    ] = None,
    modal: OnModal = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Compare stored models with the hash in their name; exit with code 1 if one differs."""
    with _store(modal, folder) as store:
        verdicts, place = verify_models(store, names or ()), store.place
    if as_json:
        verified = [models.VerifiedModel(**asdict(verdict)) for verdict in verdicts]
        print_json(models.VerifiedModels(place=place, models=verified))
    else:
        _print_verdicts(verdicts, place)
    if any(verdict.problem for verdict in verdicts):
        raise typer.Exit(ExitCode.FAILED)


def _print_verdicts(verdicts: Sequence[Verdict], place: str) -> None:
    for verdict in verdicts:
        mark = "[red]✗[/]" if verdict.problem else "[green]✓[/]"
        detail = verdict.problem or f"sha256 {verdict.sha256}"
        text = escape(printable(f"{verdict.name}: {detail}"))
        console.print(f"{mark} {text}", highlight=False, soft_wrap=True)
    if not verdicts:
        say(f"{place}: no models")


@model_app.command(name="import-wandb")
def import_wandb(
    artifact: Annotated[str, typer.Argument(help="ENTITY/PROJECT/ARTIFACT:ALIAS")],
    model_version: Version,
    modal: OnModal = None,
    folder: Folder = None,
) -> None:
    """Store the model of a Weights & Biases artifact, which must contain one .pt or .safetensors file."""
    if artifact.count("/") != 2 or ":" not in artifact.rsplit("/", 1)[-1]:
        raise usage_error(f"{artifact!r} is not ENTITY/PROJECT/ARTIFACT:ALIAS")
    with (
        tempfile.TemporaryDirectory(prefix="captionacc-wandb-") as download,
        _store(modal, folder, create=True) as store,
    ):
        file = _artifact_file(artifact, Path(download))
        _report_added(store, *add_model(store, file, model_version))


def _artifact_file(artifact: str, download: Path) -> Path:
    try:
        wandb = importlib.import_module("wandb")
    except ImportError:
        raise ConfigurationError(
            "Weights & Biases is not installed: `pip install 'captionacc-dagster[wandb]'`"
        ) from None
    try:
        wandb.Api().artifact(artifact).download(root=str(download))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigurationError(f"artifact {artifact} cannot be downloaded: {reason}") from None
    files = sorted(path for path in download.rglob("*") if path.suffix in (".pt", ".safetensors"))
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise CheckpointError(
            f"artifact {artifact} must contain one .pt or .safetensors file, and contains {names}"
        )
    return files[0]


def _report_added(store: ModelStore, checkpoint: Checkpoint, is_new: bool) -> None:
    done = "stored" if is_new else "is already stored"
    say(f"{checkpoint.path.name} {done} in {store.place}")
    say(f"Use it with EXTENTS_PREDICTOR=network EXTENTS_MODEL={checkpoint.path.name}")


@contextmanager
def _store(modal: bool | None, folder: Path | None, *, create: bool = False) -> Iterator[ModelStore]:
    """Open the store that the options name, and translate the errors of Modal's client."""
    settings = parts().settings
    if not _is_on_modal(settings, modal, folder):
        if folder is None and create:
            make_home(settings.home)
        yield FolderModels(folder or settings.home / "models")
        return
    with model_volume(create=create) as volume:
        yield VolumeModels(volume, MODEL_VOLUME)


def _is_on_modal(settings: Settings, modal: bool | None, folder: Path | None) -> bool:
    if folder is not None and modal:
        raise usage_error("give --modal or --folder, not both")
    return folder is None and (settings.modal_enabled if modal is None else modal)


@contextmanager
def model_volume(*, create: bool) -> Iterator[Any]:
    """Open the Modal volume of models for a block, and translate the errors of Modal's client."""
    client = importlib.import_module("modal")
    environment = modal_settings().environment
    try:
        volume = client.Volume.from_name(MODEL_VOLUME, environment_name=environment, create_if_missing=create)
        volume.hydrate()
        yield volume
    except CaptionAccError:
        raise
    except client.exception.Error as error:
        raise _modal_error(client, error) from None


def _modal_error(client: Any, error: Exception) -> CaptionAccError:
    text = " ".join(str(error).split())
    if isinstance(error, client.exception.AuthError):
        return ConfigurationError(
            f"Modal refused the token: {text} `captionacc doctor --modal` shows what to do"
        )
    if isinstance(error, client.exception.NotFoundError):
        return ConfigurationError(f"{text} Create it with `modal volume create {MODEL_VOLUME}`")
    return RemoteUnavailableError(f"Modal failed: {type(error).__name__}: {text}")
