"""The resources that the app requests from Modal, checked offline."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modal_gpu import app as modal_app
from modal_gpu.deployment.settings import (
    CAPTION_OCR,
    CROP_AND_INFER,
    EXTRACT,
    FUNCTIONS,
    INFER,
    ModalSettings,
    stream_of,
)
from modal_gpu.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("MODAL_", "EXTENTS_", "OCR_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "gpu", "minutes", "retries", "secrets"),
    [
        (EXTRACT, "T4", 30, 0, ["wasabi", "google-vision"]),
        (CROP_AND_INFER, "A10G", 60, 0, ["wasabi"]),
        (CAPTION_OCR, "T4", 5, 1, ["wasabi", "google-vision"]),
    ],
)
def test_a_function_requests_the_resources_of_the_design(name, gpu, minutes, retries, secrets):
    function = getattr(modal_app, name)
    info = function.info()
    assert info.gpus == [(gpu, 1)]
    assert (info.timeout, info.max_retries) == (60 * minutes, retries)
    assert info.secrets == [f"modal.Secret.from_name({secret!r})" for secret in secrets]
    (mount,) = info.volumes.items()
    assert (mount[0], mount[1].name, mount[1].read_only) == ("/models", "boundary-models", True)
    assert info.cpu >= 4 and info.memory_mib == 8192
    # One call at a time, in a container that is reused: loaded models serve the next call.
    assert info.concurrency_info is None and not info.single_use_containers


@pytest.mark.parametrize("name", [*FUNCTIONS, INFER])
def test_a_functions_generator_variant_has_its_resources_and_no_retries(name: str):
    own, stream = getattr(modal_app, name).info(), getattr(modal_app, stream_of(name)).info()
    for part in ("gpus", "timeout", "secrets", "cpu", "memory_mib", "volumes"):
        assert str(getattr(stream, part)) == str(getattr(own, part)), part
    assert not stream.max_retries
    # The same keywords, but for the form of the answer.
    keywords = set(signature_of(name).parameters) - {"contract", "call_id"}
    assert set(signature_of(stream_of(name)).parameters) == keywords


def signature_of(name: str) -> inspect.Signature:
    """The signature of a function as it is written: Modal's object in its place accepts anything."""
    tree = ast.parse(Path(modal_app.__file__).read_text())
    (written,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    written.decorator_list, written.body = [], [ast.Pass()]
    space: dict[str, Any] = dict(vars(modal_app))
    exec(compile(ast.fix_missing_locations(ast.Module([written], [])), "app", "exec"), space)
    return inspect.signature(space[name])


@pytest.mark.parametrize(
    ("name", "documented"),
    [
        (EXTRACT, {"video_key": None, "tenant_id": None, "video_id": None, "frame_rate": 0.1}),
        (
            CROP_AND_INFER,
            {"video_key": None, "tenant_id": None, "video_id": None, "crop_region": None, "frame_rate": 10.0},
        ),
        (CAPTION_OCR, {"chunks_prefix": None, "start_frame": None, "end_frame": None}),
    ],
)
def test_the_documented_keywords_come_first_and_others_are_by_name_only(name: str, documented):
    parameters = signature_of(name).parameters.values()
    first = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert {key: None if value is inspect._empty else value for key, value in first.items()} == documented
    assert all(p.kind is p.KEYWORD_ONLY and p.default is None for p in [*parameters][len(documented) :])


def decorated(script: str, **environment: str) -> str:
    """Run a script in a fresh process that knows no token; what it printed."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**kept, "HOME": str(Path.cwd()), "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


RECORD = """
import modal
asked = {}
real = modal.App.function
def function(self, **options):
    asked[options.get("name")] = options
    return real(self, **options)
modal.App.function = function
from modal_gpu import app
for name in ("extract_frames_and_ocr", "crop_and_infer_caption_frame_extents", "generate_caption_ocr"):
    options = asked[name]
    print(app.app.name, options["max_containers"], options.get("min_containers", 0),
          options["scaledown_window"], options["timeout"], options["gpu"])
"""


def test_it_is_imported_without_credentials_and_scales_from_zero_to_ten():
    lines = decorated(RECORD).splitlines()
    assert lines == [
        "captionacc-processing 10 0 60 1800 T4",
        "captionacc-processing 10 0 60 3600 A10G",
        "captionacc-processing 10 0 60 300 T4",
    ]


def test_every_limit_follows_its_setting():
    lines = decorated(
        RECORD,
        MODAL_APP_NAME="captions-staging",
        MODAL_EXTRACT_GPU="none",
        MODAL_CROP_INFER_GPU="l40s",
        MODAL_CAPTION_OCR_MAX_CONTAINERS="3",
        MODAL_CROP_INFER_TIMEOUT="7200",
        MODAL_SCALEDOWN_SECONDS="5",
    ).splitlines()
    assert lines == [
        "captions-staging 10 0 5 1800 None",
        "captions-staging 10 0 5 7200 L40S",
        "captions-staging 3 0 5 300 T4",
    ]


def test_the_container_gets_the_settings_of_the_deployment(monkeypatch):
    deployed = ModalSettings(
        MODAL_APP_NAME="captions-staging",
        MODAL_ENVIRONMENT="staging",
        MODAL_EXTRACT_TIMEOUT=60,
        EXTENTS_MODEL="extents-2_0123abcd.safetensors",
        OCR_ENGINE="rapidocr",
    )
    given = deployed.container_environment()
    assert "MODAL_ENVIRONMENT" not in given  # Modal's own, in the container
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    inside = ModalSettings()
    assert inside == deployed.model_copy(update={"environment": None})
    assert [inside.function(name) for name in FUNCTIONS] == [deployed.function(name) for name in FUNCTIONS]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODAL_EXTRACT_TIMEOUT", "0"),
        ("MODAL_CROP_INFER_MAX_CONTAINERS", "many"),
        ("MODAL_CAPTION_OCR_GPU", "T4; rm"),
        ("MODAL_APP_NAME", "two words"),
        ("EXTENTS_MODEL", "../other.safetensors"),
        ("OCR_ENGINE", "easyocr"),
        ("OCR_LANGUAGE", "not a tag"),
        ("MODAL_EXTENTS_BLOCK", "500"),
    ],
)
def test_an_invalid_setting_is_refused_by_name(monkeypatch, name: str, value: str):
    from modal_gpu.deployment.settings import modal_settings

    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        modal_settings()


@pytest.mark.parametrize("reference", ["modal_gpu/app.py", "-m modal_gpu.app"])
def test_the_commands_that_deploy_it_find_the_app(reference: str, monkeypatch):
    """The argument of `modal deploy` is resolved as the client does, as a file and as a module."""
    from modal.cli.import_refs import import_app_from_ref, parse_import_ref

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    ref = parse_import_ref(reference.removeprefix("-m "), use_module_mode=reference.startswith("-m"))
    assert import_app_from_ref(ref, base_cmd="modal deploy").name == "captionacc-processing"


def test_the_command_that_measures_finds_its_entry_point(monkeypatch):
    from modal.app import LocalEntrypoint
    from modal.cli.import_refs import import_and_filter, parse_import_ref

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    ref = parse_import_ref("modal_gpu/app.py::test_inference")
    found, *_ = import_and_filter(ref, base_cmd="modal run", accept_local_entrypoint=True)
    assert isinstance(found, LocalEntrypoint)
