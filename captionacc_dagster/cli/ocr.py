"""``ocr``: the models that read each language, and their installation."""

import io
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from captionacc_dagster.cli import json_operation_models as models
from captionacc_dagster.cli.app import Use, parts
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.model import OnModal, model_volume
from captionacc_dagster.cli.root import app, console, note, notes, say
from captionacc_dagster.cli.usage import as_usage_errors
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.platform.homes import make_home
from captionacc_dagster.resources.compute_settings import ocr_models
from captionacc_dagster.settings import Settings
from modal_gpu.deployment.settings import MODEL_VOLUME, OCR_MODELS
from modal_gpu.errors import ConfigurationError
from modal_gpu.ocr.languages.letters import Coverage, coverage, letters_of
from modal_gpu.ocr.languages.model_files import ModelFiles
from modal_gpu.ocr.languages.registry import (
    RegistryModel,
    installed_registry,
    needed_models,
    wheel_coverage,
)
from modal_gpu.ocr.languages.tags import MAX_LANGUAGES, normalized, script_of
from modal_gpu.ocr.tesseract_packs import installed_packs, pack_of

ocr_app = typer.Typer(
    no_args_is_help=True,
    help="Show and install the OCR models of languages, and set a video's languages.",
)
app.add_typer(ocr_app, name="ocr")

Languages = Annotated[
    list[str] | None, typer.Argument(metavar="[LANGUAGE]…", help="BCP-47 tags, such as ko or zh-Hant")
]
#: In the place of a model's name.
IN_THE_WHEEL = "in the wheel"
#: Languages that are listed without arguments: those with many speakers, one or more for each model.
_LISTED = (
    "en es fr de pt it nl pl cs hu ro tr vi id zh ja ko ru uk bg sr ar fa ur he hi mr ne th el ta te ka bn"
)


@ocr_app.command(name="list")
def list_(languages: Languages = None, as_json: AsJson = False) -> None:
    """Show which model reads a language, whether it is here, and how many of its letters it knows."""
    settings = parts().settings
    files = ocr_models(settings)
    packs = installed_packs()
    tags = _tags(languages or _LISTED.split(), limit=None)
    found = models.Languages(
        engine=settings.ocr_engine,
        chosen=list(settings.ocr_languages),
        languages=[_language(tag, files, packs) for tag in tags],
    )
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("language", "script", "RapidOCR's model", "here", "letters", "Tesseract's pack", "here"):
        table.add_column(heading, overflow="fold")
    for one in found.languages:
        here = ("yes" if one.installed else "no") if one.model else ""
        pack = "yes" if one.tesseract_installed else "no"
        table.add_row(
            one.language, one.script, one.model or "none", here, _share(one), one.tesseract_pack, pack
        )
    console.print(table, highlight=False, markup=False)
    say(f"OCR_ENGINE={settings.ocr_engine}, OCR_LANGUAGE={settings.ocr_language or '(none)'}")


@ocr_app.command()
def install(languages: Languages = None, modal: OnModal = None) -> None:
    """Fetch the models of languages, those of OCR_LANGUAGE by default, and verify them by their hash."""
    settings = parts().settings
    wanted = _tags(languages or settings.ocr_languages)
    if not wanted:
        raise ConfigurationError(
            "name languages, such as `captionacc ocr install ko ru`, or set OCR_LANGUAGE"
        )
    needed = needed_models(wanted)
    for tag, model in needed.items():
        if model is None:
            say(f"{tag}: RapidOCR's wheel has its model; nothing to fetch")
    missing = list(dict.fromkeys(model for model in needed.values() if model is not None))
    if settings.modal_enabled if modal is None else modal:
        _install_on_modal(settings, missing)
        return
    make_home(settings.home)
    files = ocr_models(settings)
    for model in missing:
        say(f"{model.key}: {_fetched(files, model)}")


@ocr_app.command(name="set")
def set_(
    video: Video,
    languages: Languages = None,
) -> None:
    """Set the languages of a video's captions; without any, its tenant's count again.

    What was read in other languages is then read again by a running platform.
    """
    tags = _tags(languages or ())
    here = parts(Use.WRITE)
    row = here.catalog.set_video_languages(here.find_video(video).video_id, tags)
    said = ", ".join(row.ocr_languages) or "those of its tenant"
    say(f"{row.display_path}: languages {said}. A running platform reads its captions again.")


@ocr_app.command()
def default(languages: Languages = None) -> None:
    """Set the languages of the captions of all videos without their own; without any, OCR_LANGUAGE counts."""
    tags = _tags(languages or ())
    here = parts(Use.WRITE)
    tenant = str(here.settings.tenant_id)
    row = here.catalog.set_tenant_languages(tenant, tags)
    said = ", ".join(row.ocr_languages) or f"OCR_LANGUAGE ({here.settings.ocr_language or 'not set'})"
    say(f"{row.name}: languages {said}, for videos that are read from now on.")


def _tags(languages: Iterable[str], limit: int | None = MAX_LANGUAGES) -> tuple[str, ...]:
    """Return the tags of the command line in their standard form."""
    with as_usage_errors():
        return normalized(languages, "LANGUAGE", limit)


def _install_on_modal(settings: Settings, wanted: Sequence[RegistryModel]) -> None:
    with tempfile.TemporaryDirectory(prefix="captionacc-ocr-") as name, model_volume(create=True) as volume:
        files = ModelFiles(Path(name), settings.ocr_model_mirror, (ocr_models(settings).folder,))
        paths = [_fetched(files, model) for model in wanted]
        with volume.batch_upload(force=True) as batch:
            for path in paths:
                batch.put_file(io.BytesIO(path.read_bytes()), f"/{OCR_MODELS}/{path.name}")
    for path in paths:
        say(f"{path.name} stored on Modal volume {MODEL_VOLUME}")


def _fetched(files: ModelFiles, model: RegistryModel) -> Path:
    if (here := files.find(model)) is not None:
        return here
    if not notes.is_terminal:
        note(f"{model.key}: fetching")
    with Progress(console=notes, transient=True, disable=not notes.is_terminal) as progress:
        task = progress.add_task(model.key)
        return files.get(
            model, lambda done, total: progress.update(task, completed=done, total=total or None)
        )


def _language(tag: str, files: ModelFiles, packs: Collection[str]) -> models.Language:
    """Return a language with its model, whether that is here, and its share of the letters."""
    model, installed, share = _model_of(tag, files)
    # Without a list of the language's letters, nothing is known about them.
    known, missing = (len(share.known), len(share.missing)) if share else (0, 0)
    return models.Language(
        language=tag,
        script=script_of(tag),
        model=model,
        installed=installed,
        letters_known=known if known + missing else None,
        letters=known + missing or None,
        tesseract_pack=pack_of(tag),
        tesseract_installed=pack_of(tag) in packs,
    )


def _model_of(tag: str, files: ModelFiles) -> tuple[str | None, bool, Coverage | None]:
    try:
        model = installed_registry().model_for(tag)
    except ConfigurationError:
        return None, False, None
    if model is None:
        return IN_THE_WHEEL, True, wheel_coverage(tag) if script_of(tag) == "Latn" else None
    path = files.find(model)
    if path is None:
        return model.key, False, None
    from modal_gpu.ocr.rapid import model_dictionary

    return model.key, True, coverage(tag, model_dictionary(path)) if letters_of(tag) else None


def _share(language: models.Language) -> str:
    if language.letters is None:
        is_own = language.model not in (None, IN_THE_WHEEL)
        return "unknown" if is_own and language.installed else ""
    if language.letters_known == language.letters:
        return f"all {language.letters}"
    return f"{language.letters_known} of {language.letters}"
