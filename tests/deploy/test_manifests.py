"""Kubernetes manifests: their schemas, their links, what a restricted cluster asks for, and our settings."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from fastapi.testclient import TestClient

from lit_rec.service.settings import PREFIX, ServiceSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
OBJECTS = [(file, manifest) for file in FILES for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))]

# Environment variables of others, each with whose it is.
NOT_OURS = {
    "OMP_NUM_THREADS": "OpenMP",
    "HF_HUB_OFFLINE": "huggingface_hub",
    "BENTOML_DO_NOT_TRACK": "bentoml",
    "BENTOML_HOME": "bentoml",
    "FORWARDED_ALLOW_IPS": "uvicorn",
}


def one(kind, name="lit-rec"):
    (found,) = [each for _, each in OBJECTS if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


DEPLOYMENT = one("Deployment")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", [pytest.param(each, id=f"{file.stem} {each['kind']}") for file, each in OBJECTS])
def test_every_manifest_fits_the_schema_of_kubernetes(manifest, version):
    """Strictly: a name that the schema does not know fails too."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_everything_selects_the_pods_that_the_deployment_makes():
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        one("Service")["spec"]["selector"],
        one("Service", "lit-rec-replicas")["spec"]["selector"],
        one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)


def test_the_pod_is_one_that_the_restricted_standard_admits():
    security = POD["securityContext"]
    assert security["runAsNonRoot"]
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & POD.keys()
    assert all(volume.keys() - {"name"} <= {"emptyDir", "configMap", "secret"} for volume in POD["volumes"])
    own = CONTAINER["securityContext"]
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False


def test_what_is_written_to_is_mounted():
    mounts = {mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    home = Path(one("ConfigMap")["data"]["BENTOML_HOME"])
    assert any(home.is_relative_to(mount) for mount in mounts)
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}


def environment():
    names = [*one("ConfigMap")["data"], *one("Secret")["stringData"]]
    return names + [variable["name"] for variable in CONTAINER.get("env", [])]


@pytest.mark.parametrize("name", environment())
def test_every_environment_variable_is_a_setting_or_a_librarys(name):
    assert name.removeprefix(PREFIX).lower() in ServiceSettings.model_fields or name in NOT_OURS


def test_the_settings_are_ones_that_the_service_takes(monkeypatch, tmp_path):
    for name, value in {**one("ConfigMap")["data"], **one("Secret")["stringData"]}.items():
        monkeypatch.setenv(name, value)
    settings = ServiceSettings(_env_file=None, bundle=tmp_path)
    assert settings.rate_limit_storage.startswith("redis://")
    assert len(settings.api_key) == 2


def test_keys_and_addresses_with_passwords_are_secret_and_the_secret_is_only_an_example():
    secret = {"LIT_REC_API_KEY", "LIT_REC_METRICS_KEY", "LIT_REC_FEEDBACK_DB_PATH", "LIT_REC_RATE_LIMIT_STORAGE"}
    assert one("Secret")["stringData"].keys() == secret
    assert not secret & one("ConfigMap")["data"].keys()
    applied = [each["kind"] for file, each in OBJECTS if file.parent == DEPLOY / "kubernetes"]
    assert "Secret" not in applied
    assert [source for source in CONTAINER["envFrom"] if "secretRef" in source] == [{"secretRef": {"name": "lit-rec"}}]
    assert all("change-me" in value for name, value in one("Secret")["stringData"].items() if "KEY" in name)


def test_the_pod_is_given_the_time_that_draining_takes(tmp_path):
    drain = float(one("ConfigMap")["data"]["LIT_REC_DRAIN_SECONDS"])
    deadline = ServiceSettings(_env_file=None, bundle=tmp_path).request_deadline_seconds
    probe = CONTAINER["readinessProbe"]
    assert drain >= probe["periodSeconds"] * probe["failureThreshold"]
    flag, seconds = CONTAINER["args"]
    assert flag == "--timeout-graceful-shutdown"
    assert float(seconds) > deadline
    assert POD["terminationGracePeriodSeconds"] > drain + float(seconds) + deadline, (
        "the last for what waits to be stored"
    )


def test_the_flags_are_ones_that_bentoml_serve_takes():
    from bentoml_cli.serve import build_serve_command

    flags = {flag for option in build_serve_command().commands["serve"].params for flag in option.opts}
    assert {flag for flag in CONTAINER["args"] if flag.startswith("-")} <= flags


def test_the_probes_ask_for_routes_that_the_service_has(tmp_path):
    from lit_rec.service.app import create_app

    paths = {CONTAINER[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/health"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/ready"
    app = create_app(ServiceSettings(_env_file=None, bundle=tmp_path, serve_page=False, api_key="secret"))
    client = TestClient(app)  # not started: what a process answers while its models are being loaded
    assert {path: client.get(path).status_code for path in paths} == {"/health": 200, "/ready": 503}


def test_the_autoscaler_owns_the_number_of_replicas():
    target = one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", DEPLOYMENT["metadata"]["name"])
    assert "replicas" not in DEPLOYMENT["spec"]
    assert "cpu" in CONTAINER["resources"]["requests"]  # what its percentage is of


def test_the_network_policy_lets_the_service_reach_what_its_secret_names():
    allowed = {port["port"] for rule in one("NetworkPolicy")["spec"]["egress"] for port in rule["ports"]}
    addresses = one("Secret")["stringData"]
    assert {5432, 6379} <= allowed
    assert ":5432/" in addresses["LIT_REC_FEEDBACK_DB_PATH"]
    assert addresses["LIT_REC_RATE_LIMIT_STORAGE"].endswith(":6379")
    (port,) = [port for rule in one("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]]
    assert port["port"] == CONTAINER["ports"][0]["containerPort"]


def test_prometheus_scrapes_the_headless_service():
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (discovery,) = scrape["dns_sd_configs"]
    headless = one("Service", "lit-rec-replicas")["spec"]
    assert discovery["names"] == ["lit-rec-replicas.lit-rec.svc"]
    assert headless["clusterIP"] == "None"
    assert discovery["port"] == headless["ports"][0]["port"]
