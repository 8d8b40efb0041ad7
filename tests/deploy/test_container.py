"""The Containerfile, as far as it can be checked without building it: lint, sources, pins, models, user."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from modal_gpu.deployment.image import BASE_IMAGE
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


def test_the_linter_reports_nothing():
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--no-color", FILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_copied_files_exist_and_are_not_ignored_by_the_build(stages):
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
    """It installs the locked requirements and no others, and then the project without its dependencies."""
    installs = [text for name, text in stages[0] if name == "RUN" and "pip install" in text]
    packages, project = installs
    assert {"--require-hashes", "--no-deps", "-r"} <= set(packages.split())
    assert packages.split()[-2:] == ["-r", "requirements.txt"]
    assert {"--no-deps", "--no-build-isolation", "."} <= set(project.split())


def test_each_base_is_pinned_by_digest_and_is_the_one_of_modal(instructions):
    bases = {text.split()[0] for name, text in instructions if name == "FROM"}
    assert bases == {"${PYTHON_IMAGE}"}
    assert ("ARG", f"PYTHON_IMAGE={BASE_IMAGE}") in instructions
    # Another front end of BuildKit would be an additional image.
    assert "# syntax" not in FILE.read_text()


def test_the_models_come_with_the_packages():
    import rapidocr

    assert len(list((Path(rapidocr.__file__).parent / "models").glob("*.onnx"))) >= 2
    assert list((REPOSITORY / "modal_gpu").rglob("*.onnx"))


def test_the_build_s_own_check_of_the_models_runs_here(stages):
    """This is the last command that the build runs."""
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
