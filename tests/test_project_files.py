"""The files around the code: license, changelog, hooks, the forms of GitHub, the targets of the Makefile."""

import hashlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from captionacc_dagster import __version__

REPOSITORY = Path(__file__).resolve().parent.parent
GITHUB = REPOSITORY / ".github"
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
TARGETS_OF_CI = {name for name in TARGETS if name.startswith("test")}
TARGETS_OF_CI |= {"coverage", "docs", "fuzz", "faults", "release-check"}
WORKFLOWS = sorted(path.name for path in (GITHUB / "workflows").glob("*.yml"))
#: apache.org/licenses/LICENSE-2.0.txt
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def schema_errors(file: Path, name: str) -> list[str]:
    """Return how a YAML file breaks one of the schemas in the package check-jsonschema."""
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0], "builtin_schemas", "vendor", f"{name}.json")
    schema = json.loads(path.read_text())
    # YAML 1.1 reads the key `on` as a boolean.
    content = {"on" if key is True else key: value for key, value in yaml.safe_load(file.read_text()).items()}
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [error.message for error in validator.iter_errors(content)]


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        *((f"workflows/{name}", "github-workflows") for name in WORKFLOWS),
        ("dependabot.yml", "dependabot"),
        ("ISSUE_TEMPLATE/bug.yml", "github-issue-forms"),
        ("ISSUE_TEMPLATE/feature.yml", "github-issue-forms"),
        ("ISSUE_TEMPLATE/config.yml", "github-issue-config"),
    ],
)
def test_files_of_github_have_its_form(file: str, schema: str, tmp_path: Path):
    assert schema_errors(GITHUB / file, schema) == []
    broken = tmp_path / "broken.yml"
    broken.write_text((GITHUB / file).read_text() + "\nnonsense: [{}]\n")
    assert schema_errors(broken, schema) != []


def test_the_workflow_runs_what_a_change_must_pass():
    workflow = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert any(run.endswith(".ci/run") for run in runs)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_begin_with_few_rights_and_pin_actions_by_commit(name: str):
    text = (GITHUB / "workflows" / name).read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    actions = re.findall(r"uses: (.+)", text)
    assert actions and all(re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", action) for action in actions)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_commands_of_workflows_are_targets_of_the_makefile(name: str):
    text = (GITHUB / "workflows" / name).read_text()
    named = {target for line in re.findall(r"\bmake ([a-z -]+)", text) for target in line.split()}
    assert named <= TARGETS


def test_the_release_is_published_without_a_stored_key():
    jobs = yaml.safe_load((GITHUB / "workflows" / "release.yml").read_text())["jobs"]
    assert jobs["pypi"]["permissions"] == {"id-token": "write"}
    assert jobs["pypi"]["environment"]["name"] == "pypi" and jobs["pypi"]["needs"] == "build"
    assert any("make release-check" in step.get("run", "") for step in jobs["build"]["steps"])
    assert "secrets." not in (GITHUB / "workflows" / "release.yml").read_text()


def test_the_base_image_is_renewed_in_each_file_that_names_it(tmp_path: Path):
    steps = yaml.safe_load((GITHUB / "workflows" / "supply.yml").read_text())["jobs"]["upgrade"]["steps"]
    (script,) = [step["run"] for step in steps if "imagetools" in step.get("run", "")]
    files = ["deploy/Containerfile", "modal_gpu/deployment/image.py"]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text((REPOSITORY / file).read_text())
    digest = "0123456789abcdef" * 4
    docker = f"docker() {{ echo sha256:{digest}; }}\n"
    subprocess.run(["bash", "-euc", docker + script], cwd=tmp_path, check=True)
    assert all((tmp_path / file).read_text().count(f"@sha256:{digest}") == 1 for file in files)


def test_folders_that_dependabot_watches_have_what_it_reads():
    files = {"github-actions": ".github", "docker-compose": "compose.yaml", "npm": "package-lock.json"}
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == set(files)
    for update in updates:
        assert (REPOSITORY / update["directory"].strip("/") / files[update["package-ecosystem"]]).exists()


def test_every_hook_runs_a_tool_that_the_environment_has():
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    # Nothing is downloaded: versions are those of the lock.
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    tools = [Path(shlex.split(hook["entry"])[0]) for hook in hooks]
    assert {"ruff", "mypy", "end-of-file-fixer"} <= {tool.name for tool in tools}
    assert {str(tool.parent) for tool in tools} == {".venv/bin"}
    here = Path(sys.executable).parent
    assert [tool.name for tool in tools if not (here / tool.name).exists()] == []


def test_commands_of_the_contributing_page_are_targets_of_the_makefile():
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    commands = re.findall(r"(?:`|^)make ([a-z -]+)", page, re.MULTILINE)
    named = {target for command in commands for target in command.split()}
    assert named >= {"demo", "lint", "docs-images"} | TARGETS_OF_CI
    assert named <= TARGETS


def test_ci_runs_every_target_that_tests_and_the_makefile_lists_them():
    script = (REPOSITORY / ".ci" / "run").read_text()
    runs = set(re.findall(r"^(?:.*[ _])?make ([a-z-]+)$", script, re.MULTILINE))
    listed = set(re.findall(r"^# +make ([a-z-]+)", MAKEFILE, re.MULTILINE))
    assert runs >= TARGETS_OF_CI and listed >= TARGETS_OF_CI


def test_packages_of_the_coverage_command_have_tests_of_their_own():
    (covered,) = re.findall(r"^COVERED \?= ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    packages = covered.replace("\\", " ").split()
    assert len(packages) > 3
    for package in packages:
        tests = package.replace("captionacc_dagster/", "tests/").replace("modal_gpu/", "tests/modal_gpu/")
        assert (REPOSITORY / package / "__init__.py").is_file(), package
        assert list((REPOSITORY / tests).glob("test_*.py")), tests


def test_the_license_is_the_text_of_apache_2():
    assert hashlib.sha256((REPOSITORY / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_the_changelog_begins_with_what_is_unreleased():
    page = (REPOSITORY / "CHANGELOG.md").read_text()
    unreleased, *releases = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert unreleased == "[Unreleased]"
    versions = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", line) for line in releases]
    assert all(versions) and __version__ in {found[1] for found in versions if found}
    kinds = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
