"""The release's checks: the wheel's content, the changelog's section, the SBOM, the audit's command."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
import rapidocr
from packaging.requirements import Requirement

from captionacc_dagster import __version__
from deploy import release
from modal_gpu.extents.checkpoint import MODELS
from tests.deploy.conftest import DEPLOY, REPOSITORY

SRT = "1\n00:00:01,000 --> 00:00:02,000\nFirst\n\n2\n00:00:02,000 --> 00:00:03,000\ntwo\nlines\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made from what the container's build may see."""
    context = tmp_path_factory.mktemp("context")
    for line in (DEPLOY / "Containerfile.dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source, target = REPOSITORY / line[1:], context / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                shutil.copy(source, target)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "built"]
    subprocess.run(command, cwd=context, check=True, capture_output=True)
    (built,) = (context / "built").glob("*.whl")
    return built


def test_a_wheel_from_the_container_s_context_has_every_file(wheel: Path):
    release.check_content(wheel)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for folder, suffix in [
        ("captionacc_dagster/_migrations/", ".sql"),
        ("captionacc_dagster/web/service/pages/templates/", ".html"),
        ("captionacc_dagster/web/service/pages/static/", ".js"),
        ("modal_gpu/extents/models/", ".onnx"),
    ]:
        assert any(name.startswith(folder) and name.endswith(suffix) for name in names), folder


def test_a_wheel_without_one_file_is_refused(wheel: Path, tmp_path: Path):
    lost = "captionacc_dagster/web/service/pages/templates/base.html"
    smaller = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(smaller, "w") as archive:
        for name in whole.namelist():
            if name != lost:
                archive.writestr(name, whole.read(name))
    with pytest.raises(release.ReleaseError, match=re.escape(lost)):
        release.check_content(smaller)


def test_notes_are_the_section_of_the_version(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    found = release.notes(f"v{__version__}")
    assert "### Added" in found and "## [" not in found
    with pytest.raises(release.ReleaseError, match=r"9\.9\.9"):
        release.notes("v9.9.9")


def test_links_of_the_notes_lead_to_the_files_of_the_tag(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    links = re.findall(r"\]\((.+?)\)", release.notes(f"v{__version__}"))
    address = f"https://github.com/owner/name/blob/v{__version__}/"
    assert links and all(link.startswith(address) for link in links)
    assert all((REPOSITORY / link.removeprefix(address).partition("#")[0]).exists() for link in links)


def test_a_tag_of_another_version_is_refused(tmp_path: Path):
    with pytest.raises(release.ReleaseError, match=r"v0\.0\.1"):
        release.check(tmp_path, "v0.0.1")


def test_texts_of_subtitles_keep_their_lines(tmp_path: Path):
    file = tmp_path / "a.srt"
    file.write_text(SRT)
    assert release.texts(file) == ["First", "two\nlines"]


def test_the_sbom_with_the_models_is_valid():
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": []}
    whole = release.with_models(document)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(whole)) is None
    assert {component["name"] for component in whole["components"]} == set(release.MODELS)


def test_models_of_the_sbom_are_those_that_are_shipped():
    (folder,) = rapidocr.__path__
    bundled = {path.stem for path in Path(folder, "models").glob("*.onnx")}
    own = {path.name.partition("_")[0] for path in MODELS.glob("*.onnx")}
    by_package = {"rapidocr": bundled, "captionacc-dagster": own}
    for package, names in by_package.items():
        assert {name for name, (where, _) in release.MODELS.items() if where == package} == names


def test_the_audit_reads_every_locked_file_by_its_hashes():
    """The real command line of `make audit`, read by pip-audit's own parser."""
    printed = subprocess.run(
        ["make", "--dry-run", "audit", "AUDIT_ARGS=--format json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = [line for line in printed.splitlines() if "pip-audit" in line]
    from pip_audit._cli import _parser

    given = _parser().parse_args(shlex.split(line)[1:])
    assert given.require_hashes and given.disable_pip and given.strict
    read = {file.as_posix() for file in given.requirements}
    locked = {"constraints.txt", "constraints-dev.txt", "deploy/requirements.txt"}
    assert read == locked | {"modal_gpu/deployment/requirements.txt"}


def test_every_upper_bound_is_explained():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    page = (REPOSITORY / "docs" / "reference" / "dependencies.md").read_text()
    rows = re.findall(r"^\| ([\w, -]+) \| ([<=][\w.=]+) \|", page, re.MULTILINE)
    explained = {name.strip(): bound for names, bound in rows for name in names.split(",")}
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    bounded = {
        need.name: str(part)
        for need in map(Requirement, lines)
        for part in need.specifier
        if part.operator in ("<", "<=", "==", "~=")
    }
    assert explained == bounded
