"""The locked requirements: exact versions with hashes, for everything that pyproject.toml requires."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.conftest import DEPLOY, REPOSITORY
from tests.deploy.locks import Pin, read_pins

BASE, DEVELOPMENT, TORCH = ALL = tuple(
    REPOSITORY / f"constraints{part}.txt" for part in ("", "-dev", "-torch")
)
CPU_BUILD = REPOSITORY / "constraints-torch-cpu.txt"
CONTAINER = DEPLOY / "requirements.txt"
UV = DEPLOY / "requirements-uv.txt"
PARTS = (CONTAINER, *sorted((REPOSITORY / "modal_gpu" / "deployment").glob("requirements*.txt")))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
#: Not installed by `make`: model files from Weights & Biases.
NOT_LOCKED = {"wandb"}


def _asked_for(extras: set[str]) -> Iterator[Requirement]:
    project = PROJECT["project"]
    lines = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    for need in map(Requirement, lines):
        if need.name == project["name"]:
            yield from _asked_for(need.extras)
        else:
            yield need


@pytest.mark.parametrize(
    "file", [*ALL, CPU_BUILD, UV, *PARTS], ids=lambda file: str(file.relative_to(REPOSITORY))
)
def test_each_requirement_is_an_exact_version_with_hashes(file):
    pins = read_pins(file)
    assert pins
    for pin in pins.values():
        assert pin.hashes, pin.name
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in pin.hashes), pin.name


@pytest.mark.parametrize(
    ("files", "extras"),
    [
        (ALL, set(PROJECT["project"]["optional-dependencies"]) - NOT_LOCKED),
        ((BASE,), set()),
        ((CONTAINER,), {"k8s"}),
    ],
    ids=["all", "base", "container"],
)
def test_requirements_and_build_requirements_are_locked(files, extras):
    pins = read_pins(*files)
    asked = [*_asked_for(extras), *map(Requirement, PROJECT["build-system"]["requires"])]
    assert len(asked) > 30
    for need in asked:
        pin = pins[canonicalize_name(need.name)]
        assert pin.version in need.specifier and need.extras <= pin.extras, need


def test_locked_packages_need_only_locked_packages():
    """By the metadata of the packages installed here; pip checks the hashes."""
    pins = read_pins(*ALL)
    installed = {canonicalize_name(found.name): found for found in importlib.metadata.distributions()}
    checked = [pin for name, pin in pins.items() if name in installed and name != "torch"]
    assert len(checked) > 200
    for pin in checked:
        for need in _needs(pin):
            assert pins[canonicalize_name(need.name)].version in need.specifier, f"{pin.name} needs {need}"


def _needs(pin: Pin) -> Iterator[Requirement]:
    for need in map(Requirement, importlib.metadata.requires(pin.name) or ()):
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *pin.extras)):
            yield need


def test_all_files_lock_the_same_versions_and_files():
    everything = read_pins(*ALL)
    for file in PARTS:
        for name, pin in read_pins(file).items():
            if name != "onnxruntime-gpu":
                assert (pin.version, pin.hashes) == (everything[name].version, everything[name].hashes), file


def test_the_cpu_builds_are_of_the_same_torch():
    (cpu,) = read_pins(CPU_BUILD).values()
    assert (cpu.name, cpu.version) == ("torch", read_pins(TORCH)["torch"].version + "+cpu")


@pytest.mark.parametrize("file", [BASE, CONTAINER], ids=["base", "container"])
def test_the_platform_brings_nothing_that_only_training_tests_or_a_gpu_need(file):
    heavy = "torch|nvidia-|cuda-|triton|scipy|scikit-|moto|onnx$|mypy|pytest|networkx|sympy"
    heavy += "|playwright|schemathesis|hypothesis|fonttools|fontpkg-|noto-"
    found = [name for name in read_pins(file) if re.match(heavy, name)]
    assert not found
    assert file == CONTAINER or "kubernetes" not in read_pins(file)


def test_what_torch_brings_for_cuda_is_for_linux_and_in_its_own_file():
    assert not any(re.match("nvidia-|cuda-|triton|torch", name) for name in read_pins(BASE, DEVELOPMENT))
    for pin in read_pins(TORCH).values():
        assert pin.name == "torch" or not pin.marker.evaluate({"sys_platform": "darwin"}), pin.name


def test_third_party_images_have_a_digest():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    others = [
        image for image in (service.get("image", "") for service in services.values()) if "${" not in image
    ]
    assert others and all(
        re.fullmatch(r"[\w.:/-]+@sha256:[0-9a-f]{64}", image) for image in filter(None, others)
    )
