"""The Containerfile, as far as it can be judged without building it: lint, sources, pins, models, user."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from modal_gpu.modal_image import pinned_packages, read_lock
from tests.deploy.conftest import DEPLOY, REPOSITORY

FILE = DEPLOY / "Containerfile"


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Each instruction's name and its text, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def stages(instructions) -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, text in instructions:
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, text))
    return found


def test_the_linter_has_nothing_to_say():
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--no-color", FILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_may_be_seen_by_the_build(stages):
    lines = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    copied = [
        source
        for stage in stages
        for name, text in stage
        if name == "COPY" and "--from=" not in text
        for source in text.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source
    for path in allowed:
        assert (REPOSITORY / path).exists(), path
        assert any(path == source for source in copied), f"{path} is let in and not used"


def test_every_stage_is_used_and_the_last_one_has_no_compiler_and_no_root(stages):
    build, final = stages
    assert build[0][1].endswith("AS build")
    assert any(name == "COPY" and "--from=build" in text for name, text in final)
    users = [text for name, text in final if name == "USER"]
    assert users == ["10001:10001"]
    assert not any("apt-get" in text or "pip install" in text for _, text in final)
    after_user = final[[name for name, _ in final].index("USER") :]
    assert {"CMD", "HEALTHCHECK"} <= {name for name, _ in after_user}


def test_no_secret_is_an_argument_or_a_variable_of_the_image(instructions):
    for name, text in instructions:
        if name in ("ENV", "ARG"):
            assert not re.search(r"(?i)password|secret|token|key", text), text


def test_it_installs_exactly_what_is_locked(stages):
    """The requirements as its own script prints them, with all that they need, are pinned by the lock."""
    script = subprocess.run(
        [sys.executable, DEPLOY / "requirements.py", REPOSITORY / "pyproject.toml", "k8s"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    wanted = [Requirement(line) for line in script.stdout.splitlines()]
    assert {"dagster", "dagster-k8s", "prometheus-client", "torch"} <= {need.name for need in wanted}
    lock = read_lock()
    pins = dict(pin.split("==") for pin in pinned_packages([str(need) for need in wanted], lock))
    for need in wanted:
        assert pins[canonicalize_name(need.name)] in need.specifier, need
    # CUDA's wheels of torch's own build are left out of the lock, and of the CPU build.
    optional = {"triton", "setuptools"}
    missing = {
        canonicalize_name(need.name)
        for name in pins
        for need in map(Requirement, importlib.metadata.requires(name) or ())
        if (need.marker is None or need.marker.evaluate({"extra": ""}))
        and canonicalize_name(need.name) not in lock
        and not re.match(r"nvidia-|cuda-", need.name)
    }
    assert missing - optional == set()
    (install,) = [text for name, text in stages[0] if name == "RUN" and "-r /tmp/requirements.txt" in text]
    assert "-c constraints.txt" in install
    assert "requirements.py pyproject.toml k8s" in install


def test_the_models_come_with_the_packages():
    import rapidocr

    assert len(list((Path(rapidocr.__file__).parent / "models").glob("*.onnx"))) >= 2
    assert list((REPOSITORY / "modal_gpu").rglob("*.safetensors"))


def test_the_build_s_own_check_of_the_models_runs_here(stages):
    """The same line that the build runs last."""
    (check,) = [text for name, text in stages[1] if name == "RUN" and "RapidOcrEngine" in text]
    code = re.search(r'python -c "(.*?)"', check).group(1)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_its_command_serves_the_graph_on_the_port_that_its_health_check_asks(stages):
    final = dict(stages[1])
    command, health = json.loads(final["CMD"]), json.loads(final["HEALTHCHECK"].partition("CMD ")[2])
    assert command[command.index("-p") + 1] == health[health.index("-p") + 1] == "4000"
    assert command[command.index("-m") + 1] == "captionacc_dagster.definitions"
