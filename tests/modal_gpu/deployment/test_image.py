"""The image: what it installs covers what the code imports, at the versions of the lock."""

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from unittest.mock import MagicMock

import modal
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import modal_gpu
from modal_gpu import app
from modal_gpu.deployment.image import (
    BASE_IMAGE,
    INSTALL_OPTIONS,
    PACKAGES,
    is_left_out,
    requirements_file,
)
from tests.deploy.locks import Pin, read_pins
from tests.source_trees import source_tree

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGE = Path(modal_gpu.__file__).parent
#: Put there by Modal itself; and what exports a model, where it is uploaded from.
NOT_IN_THE_IMAGE = {"modal", "onnx"}


def imported() -> set[str]:
    """Dotted names that modal_gpu imports, wherever in a module."""
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(source_tree(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@lru_cache(maxsize=1)
def owners_of_top_levels() -> dict[str, list[str]]:
    return {top: sorted(set(owners)) for top, owners in importlib.metadata.packages_distributions().items()}


@lru_cache(maxsize=64)
def files_of(distribution: str) -> frozenset[str]:
    return frozenset(str(file) for file in importlib.metadata.files(distribution) or ())


def distributions_of(name: str) -> set[str]:
    """Installed distributions that hold a dotted name; those of its top level when none is nearer."""
    top = name.split(".")[0]
    owners = owners_of_top_levels().get(top, [])
    if len(owners) > 1:
        path = name.replace(".", "/")
        wanted = {f"{path}/__init__.py", f"{path}.py"}
        owners = [owner for owner in owners if wanted & files_of(owner)]
    return {canonicalize_name(owner) for owner in owners}


def test_it_contains_everything_that_the_code_imports():
    installed = set(read_pins(requirements_file()))
    needed: dict[str, set[str]] = {}
    for name in imported():
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top == "modal_gpu":
            continue
        for owner in distributions_of(name):
            needed.setdefault(owner, set()).add(name)
    missing = {owner: names for owner, names in needed.items() if owner not in installed | NOT_IN_THE_IMAGE}
    assert not missing
    assert {"torch", "numpy", "av", "rapidocr", "google-cloud-vision", "obstore"} <= needed.keys()


def test_every_version_is_the_locked_one():
    pins = read_pins(requirements_file())
    locked = read_pins(*(REPOSITORY / f"constraints{part}.txt" for part in ("", "-dev", "-torch")))
    assert {name: pin.version for name, pin in pins.items()} == {name: locked[name].version for name in pins}
    assert {canonicalize_name(name) for name in PACKAGES} <= pins.keys()
    # Their dependencies are included, CUDA too; the orchestrator's own packages are not.
    assert {"omegaconf", "protobuf", "nvidia-cudnn-cu13"} <= pins.keys()
    assert not {"dagster", "supabase", "pytest", "modal"} & pins.keys()


def test_ocr_on_the_gpu_takes_the_cuda_build_of_the_same_version():
    with_cuda, without = (read_pins(requirements_file(ocr_cuda=cuda)) for cuda in (True, False))
    on_gpu, on_cpu = with_cuda.pop("onnxruntime-gpu"), without.pop("onnxruntime")
    assert (on_gpu.version, with_cuda) == (on_cpu.version, without)


@pytest.mark.parametrize("ocr_cuda", [False, True])
def test_the_image_is_a_base_by_its_digest_and_packages_by_their_hashes(monkeypatch, ocr_cuda):
    image = MagicMock(spec=modal.Image)
    for step in ("pip_install_from_requirements", "env", "add_local_python_source"):
        getattr(image, step).return_value = image
    monkeypatch.setattr(modal.Image, "from_registry", base := MagicMock(return_value=image))
    monkeypatch.setattr(app, "settings", app.settings.model_copy(update={"ocr_cuda": ocr_cuda}))
    app.container_image()
    assert re.fullmatch(r"[\w.:/-]+@sha256:[0-9a-f]{64}", BASE_IMAGE)
    base.assert_called_once_with(BASE_IMAGE)
    assert [call[0] for call in image.method_calls] == [
        "pip_install_from_requirements",
        "env",
        "add_local_python_source",
    ]
    image.pip_install_from_requirements.assert_called_once_with(
        str(requirements_file(ocr_cuda=ocr_cuda)), extra_options=INSTALL_OPTIONS
    )
    assert {"--require-hashes", "--no-deps"} <= set(INSTALL_OPTIONS.split())


@pytest.mark.parametrize("ocr_cuda", [False, True])
def test_what_a_package_of_the_image_needs_is_in_it(ocr_cuda):
    """By the metadata of the packages installed here, evaluated for the container."""
    pins = read_pins(requirements_file(ocr_cuda=ocr_cuda))
    assert all(pin.hashes for pin in pins.values())
    container = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11"}
    checked = [name for name in pins if _is_installed(name)]
    missing = {name: needs for name in checked if (needs := set(_needs(pins[name], container)) - pins.keys())}
    assert not missing and len(checked) > 40


def _is_installed(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))


def _needs(pin: Pin, environment: dict[str, str]) -> Iterator[str]:
    for need in map(Requirement, importlib.metadata.requires(pin.name) or ()):
        if need.marker is None or any(
            need.marker.evaluate({**environment, "extra": extra}) for extra in ("", *pin.extras)
        ):
            yield canonicalize_name(need.name)


def test_the_code_and_the_shipped_model_go_along_and_nothing_else():
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    kept = {path.suffix for path in files if not is_left_out(path)}
    assert {".py", ".safetensors", ".onnx"} <= kept <= {".py", ".safetensors", ".onnx", ".json"}
    assert is_left_out(PACKAGE / "extents" / "models" / "README.md")
