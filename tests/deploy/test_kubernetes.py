"""The Helm values and manifests: loaded by the launcher and the client that would use them.

Dagster's chart renders a ``dagster.yaml`` from the values; this puts together the same from them and has
Dagster and dagster-k8s read it. ``helm lint`` and each installation apply the chart's own schema.
"""

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_aws.s3 import S3ComputeLogManager
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig
from dagster_k8s.models import k8s_model_from_dict
from kubernetes import client

from captionacc_dagster import __version__
from captionacc_dagster.platform.dagster_home import POOL_LIMITS
from tests.deploy.conftest import DEPLOY

#: Top-level values of the chart (its values.schema.json, 1.13) that a deployment sets.
CHART_SECTIONS = {
    "global",
    "generatePostgresqlPasswordSecret",
    "postgresql",
    "dagsterWebserver",
    "dagsterDaemon",
    "dagster-user-deployments",
    "runLauncher",
    "computeLogManager",
    "migrate",
    "additionalInstanceConfig",
    "telemetry",
    "rabbitmq",
    "redis",
    "flower",
}


@pytest.fixture(scope="module")
def values() -> dict:
    return yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())


@pytest.fixture(scope="module")
def manifests() -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / "platform.yaml").read_text()))


def as_model(kind: type, fields: dict):
    """Build a Kubernetes object of these fields; an unknown one is an error."""
    return k8s_model_from_dict(kind, _snake(kind, fields))


def _snake(kind: type, fields: dict) -> dict:
    names = {json_name: name for name, json_name in kind.attribute_map.items()}
    unknown = set(fields) - set(names)
    assert not unknown, f"{kind.__name__} has no {unknown}"
    made = {}
    for json_name, value in fields.items():
        of = kind.openapi_types[names[json_name]]
        inner = getattr(client, of.removeprefix("list[").rstrip("]"), None)
        if inner is not None and isinstance(value, dict):
            value = _snake(inner, value)
        elif inner is not None and isinstance(value, list):
            value = [_snake(inner, item) for item in value]
        made[names[json_name]] = value
    return made


def test_sections_are_the_charts(values: dict):
    assert set(values) <= CHART_SECTIONS


def test_instance_settings_are_what_dagster_reads(values: dict):
    schema = resolve_to_config_type(dagster_instance_config_schema())
    result = process_config(schema, values["additionalInstanceConfig"])
    assert result.success, result.errors
    broken = values["additionalInstanceConfig"] | {"run_retriess": {}}
    assert not process_config(schema, broken).success


def test_what_the_chart_would_write_twice_is_switched_off(values: dict):
    """A key of additionalInstanceConfig that repeats one of the chart's own makes an invalid file."""
    daemon, ours = values["dagsterDaemon"], values["additionalInstanceConfig"]
    for section, key in (("runMonitoring", "run_monitoring"), ("runRetries", "run_retries")):
        assert key in ours and daemon[section]["enabled"] is False
    assert daemon["runCoordinator"]["enabled"] is False and {"run_queue", "concurrency"} <= set(ours)
    assert "sensors" not in ours and "telemetry" not in ours
    assert "retention" not in values and "pythonLogs" not in values and "concurrency" not in values


def test_a_cluster_has_the_same_run_limits_as_one_machine(values: dict):
    """Everything but the sizes equals dagster.yaml."""
    ours, file = values["additionalInstanceConfig"], yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    for section in ("run_retries", "retention", "python_logs", "nux"):
        assert ours[section] == file[section], section
    for name in ("max_runtime_seconds", "max_resume_run_attempts", "cancel_timeout_seconds"):
        assert ours["run_monitoring"][name] == file["run_monitoring"][name]
    (limit,), (other,) = (config["concurrency"]["runs"]["tag_concurrency_limits"] for config in (ours, file))
    assert limit | {"limit": 0} == other | {"limit": 0}
    for config in (ours, file):
        assert config["concurrency"]["runs"]["max_concurrent_runs"] >= max(POOL_LIMITS.values())


def test_the_launcher_accepts_its_settings(values: dict):
    given = values["runLauncher"]["config"]["k8sRunLauncher"]
    run = given["runK8sConfig"]
    config = {
        "load_incluster_config": given["loadInclusterConfig"],
        "image_pull_policy": given["imagePullPolicy"],
        "service_account_name": "captionacc-dagster",
        "instance_config_map": "captionacc-dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "dagster_home": "/opt/dagster/dagster_home",
        "env_config_maps": [entry["name"] for entry in given["envConfigMaps"]],
        "env_secrets": [entry["name"] for entry in given["envSecrets"]],
        "resources": given["resources"],
        "security_context": given["securityContext"],
        "fail_pod_on_run_failure": given["failPodOnRunFailure"],
        "run_k8s_config": {
            "pod_spec_config": run["podSpecConfig"],
            "job_spec_config": run["jobSpecConfig"],
        },
    }
    schema = resolve_to_config_type(DagsterK8sJobConfig.config_type_run_launcher())
    result = process_config(schema, config)
    assert result.success, result.errors
    taken = UserDefinedDagsterK8sConfig.from_dict(result.value["run_k8s_config"])
    assert taken.pod_spec_config["termination_grace_period_seconds"] == 120
    assert taken.job_spec_config["ttl_seconds_after_finished"] == 3600
    as_model(client.V1ResourceRequirements, given["resources"])
    as_model(client.V1SecurityContext, given["securityContext"])


def test_logs_are_taken_by_the_log_manager(values: dict, monkeypatch: pytest.MonkeyPatch):
    for name in ("BUCKET", "ENDPOINT", "REGION"):
        monkeypatch.setenv(f"DAGSTER_LOGS_{name}", "given")
    given = values["computeLogManager"]["config"]["s3ComputeLogManager"]
    names = {"bucket": "bucket", "endpointUrl": "endpoint_url", "region": "region", "prefix": "prefix"}
    names |= {
        "localDir": "local_dir",
        "skipEmptyFiles": "skip_empty_files",
        "uploadInterval": "upload_interval",
    }
    config = {names.get(name, name): value for name, value in given.items()}
    result = process_config(resolve_to_config_type(S3ComputeLogManager.config_type()), config)
    assert result.success, result.errors


@pytest.mark.parametrize("part", ["dagsterWebserver", "dagsterDaemon", "user-code"])
def test_probes_resources_and_rights_are_kubernetes_own(values: dict, part: str):
    if part == "user-code":
        (section,) = values["dagster-user-deployments"]["deployments"]
    else:
        section = values[part]
    assert {"livenessProbe", "startupProbe"} <= set(section)
    for name in ("livenessProbe", "startupProbe", "readinessProbe"):
        if name in section:
            probe = {key: value for key, value in section[name].items() if key != "enabled"}
            as_model(client.V1Probe, probe)
    as_model(client.V1ResourceRequirements, section["resources"])
    rights = as_model(client.V1SecurityContext, section["securityContext"])
    assert rights.run_as_non_root and not rights.allow_privilege_escalation
    assert section["image"]["tag"] != "latest"
    assert section["envSecrets"] == [{"name": "captionacc-secrets"}]


def test_ports_of_probes_are_those_that_are_served(values: dict):
    webserver = values["dagsterWebserver"]
    assert webserver["readinessProbe"]["httpGet"]["port"] == webserver["service"]["port"] > 1024
    (code,) = values["dagster-user-deployments"]["deployments"]
    assert code["readinessProbe"]["exec"]["command"][-1] == str(code["port"])


KINDS = {
    "ConfigMap": client.V1ConfigMap,
    "Deployment": client.V1Deployment,
    "Service": client.V1Service,
    "CronJob": client.V1CronJob,
    "Job": client.V1Job,
}


def test_the_manifests_are_kubernetes_objects(manifests: list[dict]):
    assert [manifest["kind"] for manifest in manifests] == list(KINDS)
    for manifest in manifests:
        model = as_model(KINDS[manifest["kind"]], manifest)
        assert model.metadata.name.startswith("captionacc-")


def test_manifests_and_values_agree_on_names_image_and_settings(manifests: list[dict], values: dict):
    text = (DEPLOY / "kubernetes" / "platform.yaml").read_text()
    image = values["dagsterWebserver"]["image"]
    assert text.count(f"image: {image['repository']}:{image['tag']}") == text.count("image: ") == 3
    assert image["tag"] == __version__
    page = (DEPLOY.parent / "docs" / "how-to" / "kubernetes.md").read_text()
    assert page.count(f"{image['repository']}:{__version__}") == page.count(f"{image['repository']}:") == 2
    configuration = manifests[0]
    (named,) = values["dagsterDaemon"]["envConfigMaps"]
    assert named["name"] == configuration["metadata"]["name"]
    for name in ("DAGSTER_LOGS_BUCKET", "DAGSTER_LOGS_ENDPOINT", "DAGSTER_LOGS_REGION"):
        assert name in configuration["data"]
    for name in configuration["data"]:
        assert not any(word in name for word in ("SECRET", "PASSWORD", "TOKEN", "ACCESS_KEY"))
