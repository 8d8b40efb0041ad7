"""The image: what it installs covers what the code imports, at the versions of the lock."""

import ast
import importlib.metadata
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

import modal_gpu
from modal_gpu.errors import ConfigurationError
from modal_gpu.modal_image import (
    PACKAGES,
    image_packages,
    is_left_out,
    locked_versions,
    pinned_packages,
    read_lock,
)

PACKAGE = Path(modal_gpu.__file__).parent
#: Only where the app is deployed from (packaging), or put there by Modal itself.
NOT_IN_THE_IMAGE = {"modal", "packaging"}


def imported() -> set[str]:
    """Dotted names that modal_gpu imports, wherever in a module."""
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
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


def test_it_holds_everything_that_the_code_imports():
    installed = {pin.split("==")[0] for pin in image_packages()}
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


def test_every_version_is_the_locks():
    lock = read_lock()
    pins = dict(pin.split("==") for pin in image_packages())
    assert pins and all(lock[name] == version for name, version in pins.items())
    assert {canonicalize_name(name) for name in PACKAGES} <= pins.keys()
    # What they need comes along, the orchestrator's own packages do not.
    assert "omegaconf" in pins and "protobuf" in pins
    assert not {"dagster", "supabase", "pytest", "modal"} & pins.keys()


def test_ocr_on_the_gpu_takes_the_cuda_build_of_the_same_version():
    with_cuda, without = set(image_packages(ocr_cuda=True)), set(image_packages())
    version = read_lock()["onnxruntime"]
    assert with_cuda - without == {f"onnxruntime-gpu=={version}"}
    assert without - with_cuda == {f"onnxruntime=={version}"}


def test_a_package_that_the_lock_does_not_hold_is_refused():
    with pytest.raises(ConfigurationError, match=r"torch is not in constraints\.txt"):
        pinned_packages(["torch"], locked_versions("# a comment\nnumpy==2.4.6\n"))


def test_the_code_and_the_shipped_model_go_along_and_nothing_else():
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    kept = {path.suffix for path in files if not is_left_out(path)}
    assert {".py", ".safetensors"} <= kept <= {".py", ".safetensors", ".json"}
    assert is_left_out(PACKAGE / "extents" / "models" / "README.md")
