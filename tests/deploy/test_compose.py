"""compose.yaml, checked against the Compose specification's schema and for consistency of its parts."""

import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from captionacc_dagster.settings import Settings
from tests.all_commands import load_all
from tests.deploy.conftest import DEPLOY, REPOSITORY

ENVIRONMENT = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def services(compose: dict) -> dict:
    return compose["services"]


def test_it_is_valid_by_the_specification(compose: dict):
    # Only its data, because the package's own code needs a newer click than the platform has.
    (package,) = importlib.util.find_spec("check_jsonschema").submodule_search_locations
    schema = json.loads(Path(package, "builtin_schemas", "vendor", "compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    validator.validate(compose)
    broken = compose | {"services": compose["services"] | {"daemon": {"imagee": "x"}}}
    assert not validator.is_valid(broken)


def test_every_named_file_exists(services: dict):
    assert (DEPLOY / services["prepare"]["build"]["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / services["prepare"]["build"]["dockerfile"]).is_file()
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), source
        for file in service.get("env_file", []):
            assert (DEPLOY / "env.example").is_file() and file["path"] == ".env"


def test_volumes_networks_and_dependencies_are_declared(compose: dict, services: dict):
    for name, service in services.items():
        assert set(service["networks"]) <= set(compose["networks"]), name
        for other, condition in service.get("depends_on", {}).items():
            wanted = condition["condition"]
            if wanted == "service_healthy":
                assert "test" in services[other]["healthcheck"], (name, other)
        named = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert {volume for volume in named if not volume.startswith(".")} <= set(compose["volumes"]), name


def test_the_platforms_processes_are_confined_and_nothing_is_open_to_the_world(services: dict):
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)
        if name == "postgres":
            continue
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "healthcheck" in service, name
        assert service["logging"]["options"]["max-size"], name


def test_nothing_starts_before_the_databases_are_prepared(services: dict):
    def waits_for(name: str) -> set[str]:
        found = set(services[name].get("depends_on", {}))
        return found.union(*(waits_for(other) for other in found))

    for name in set(services) - {"postgres", "prepare"}:
        assert {"prepare", "postgres"} <= waits_for(name), name


def test_exactly_one_daemon_and_only_the_webserver_has_a_port(services: dict):
    daemons = [name for name, service in services.items() if "dagster-daemon" in service.get("command", [])]
    assert daemons == ["daemon"] and "deploy" not in services["daemon"]
    assert "--read-only" in services["viewer"]["command"]
    assert services["viewer"]["profiles"] == ["viewer"]


def test_its_commands_exist(services: dict):
    commands = {command.name or command.callback.__name__ for command in load_all().registered_commands}
    for name, service in services.items():
        command = service.get("command", [])
        if command[:1] == ["captionacc"]:
            assert command[1] in commands, name
            options = [word for word in command if word.startswith("--")]
            shown = CliRunner().invoke(load_all(), [command[1], "--help"], env={"COLUMNS": "200"}).output
            assert all(option in shown for option in options), name


def test_secrets_come_from_the_environment_file_only(compose: dict):
    text = (DEPLOY / "compose.yaml").read_text()
    for line in text.splitlines():
        if re.search(r"(?i)password|secret_key|token", line) and not line.lstrip().startswith("#"):
            assert "${" in line or "SecretStr" in line, line
    example = ENVIRONMENT.findall((DEPLOY / "env.example").read_text())
    assert all(re.fullmatch(r"true|[\d,]*", value) for _, value in example)
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert ".env" in ignored


def test_the_example_s_variables_are_known():
    known = set()
    for name, field in Settings.model_fields.items():
        known |= {field.alias, name} if field.alias else set(field.validation_alias.choices)
    elsewhere = set(re.findall(r"env: ([A-Z_]+)", (DEPLOY / "dagster.yaml").read_text()))
    elsewhere |= set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    elsewhere |= {"MODAL_ENVIRONMENT", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"}
    for name, _ in ENVIRONMENT.findall((DEPLOY / "env.example").read_text()):
        assert name in known | elsewhere, name


def test_the_variables_of_dagster_yaml_are_set(services: dict):
    given = {name for name, _ in ENVIRONMENT.findall((DEPLOY / "env.example").read_text())}
    given |= set(services["daemon"]["environment"])
    for file in ("dagster.yaml", "workspace.yaml"):
        for name in re.findall(r"env: ([A-Z_]+)", (DEPLOY / file).read_text()):
            assert name in given, (file, name)


def test_alert_rules_name_existing_metrics():
    source = (REPOSITORY / "captionacc_dagster" / "operations" / "metrics.py").read_text()
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            names = re.findall(r"captionacc_[a-z_]+", rule["expr"])
            assert names, rule
            for name in names:
                plain = re.sub(r"_(total|bucket|count|sum)$", "", name)
                assert f'"{plain}"' in source, name
            assert rule["annotations"]["summary"] and rule["annotations"]["runbook"].startswith("docs/")
    text = Path(REPOSITORY / "docs" / "how-to" / "operations.md").read_text()
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["runbook"].split("#")[1] in headings, rule["annotations"]["runbook"]
