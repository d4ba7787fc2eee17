"""What a person copies to deploy: it fits together, and names only what is there."""

import json
import os
import re
import subprocess
import time
from types import SimpleNamespace

import pytest
import yaml
from prometheus_client import CollectorRegistry

from cf_workers.cache import CacheStats
from cf_workers.cli.procfile import PROCESSES
from cf_workers.health import ProbeServer, Readiness
from cf_workers.metrics import CallMeter, FleetCollector, WorkerCollector
from cf_workers.provenance import unknown_variables
from cf_workers.reliability import ReliabilityPolicy
from cf_workers.reliability.queues import QueueState
from cf_workers.resilience import Guard
from cf_workers.settings import Settings, load_settings
from tests.support.environ import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = {
    path.name: list(yaml.safe_load_all(path.read_text()))
    for path in sorted((DEPLOY / "kubernetes").glob("*"))
}
OBJECTS = [one for documents in KUBERNETES.values() for one in documents]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana" / "cf-workers.json").read_text())
SECRETS = ("redis-password", "redis-url", "anthropic-api-key", "cache-secret", "flower-basic-auth")
OURS = ("worker", "beat", "flower")
URL = "redis://localhost:6379/0"
BETWEEN_BEATS = ReliabilityPolicy().heartbeat_every
ASKING = (
    "prometheus/alerts.yml",
    "prometheus/alerts_test.yml",
    "grafana/cf-workers.json",
    "kubernetes/keda.yaml",
)


def workload(name):
    kinds = ("Deployment", "StatefulSet")
    (found,) = [one for one in OBJECTS if one["kind"] in kinds and one["metadata"]["name"] == name]
    return found


def container(name):
    (found,) = workload(name)["spec"]["template"]["spec"]["containers"]
    return found


def environment(name):
    """The variables of a container that are set to values, those of the common settings included."""
    (common,) = KUBERNETES["settings.yaml"]
    own = {one["name"]: one["value"] for one in container(name)["env"] if "value" in one}
    return {**common["data"], **own}


@pytest.mark.parametrize("name", OURS)
def test_kubernetes_runs_what_the_procfile_runs(name):
    assert " ".join(container(name)["command"]) == PROCESSES[name]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_ours_is_a_setting(name, monkeypatch):
    in_kubernetes = {one["name"]: one.get("value", URL) for one in container(name)["env"]}
    in_compose = COMPOSE["services"][name]["environment"]
    for variable in [given for given in os.environ if given.startswith("CF_WORKERS_TEST_")]:
        monkeypatch.delenv(variable)  # those of the tests themselves
    for variable, value in {**in_compose, **in_kubernetes, **environment(name)}.items():
        monkeypatch.setenv(variable, URL if variable.endswith("_URL") else str(value))

    load_settings()

    assert [variable for variable, _ in unknown_variables()] == []


@pytest.mark.parametrize("name", [*OURS, "redis"])
def test_containers_may_do_little(name):
    pod, own = workload(name)["spec"]["template"]["spec"], container(name)

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert own["securityContext"]["allowPrivilegeEscalation"] is False
    assert own["securityContext"]["readOnlyRootFilesystem"] is True
    assert own["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"requests", "limits"} <= own["resources"].keys()


def test_secrets_stand_in_a_secret_that_the_readme_creates():
    text = (DEPLOY / "README.md").read_text()
    referred = {
        (one["valueFrom"]["secretKeyRef"]["name"], one["valueFrom"]["secretKeyRef"]["key"])
        for name in (*OURS, "redis")
        for one in container(name)["env"]
        if "valueFrom" in one
    }

    assert referred == {("cf-workers", key) for key in SECRETS}
    assert all(f"--from-literal={key}=" in text for key in SECRETS)
    assert not [one for one in OBJECTS if one["kind"] == "Secret"]
    assert not {"ANTHROPIC_API_KEY", "CLAUDE_CACHE_SECRET"} & environment("worker").keys()


def test_a_worker_is_given_longer_to_stop_than_a_call_may_take():
    kubernetes = workload("worker")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    minutes = re.fullmatch(r"(\d+)m", COMPOSE["services"]["worker"]["stop_grace_period"])

    longest = Settings().agents.timeout_seconds
    assert kubernetes > longest + 30
    assert int(minutes[1]) * 60 > longest + 30


def test_readiness_is_a_path_that_a_worker_answers():
    probe = container("worker")["readinessProbe"]["httpGet"]
    (port,) = [one for one in container("worker")["ports"] if one["name"] == probe["port"]]

    server = ProbeServer(lambda: True, lambda: Readiness(()))

    assert probe["path"] in server._answers
    assert str(port["containerPort"]) == environment("worker")["CF_WORKERS_HEALTH__PORT"]
    assert environment("worker")["CF_WORKERS_HEALTH__HOST"] == "0.0.0.0"


def liveness_commands():
    compose = COMPOSE["services"]["worker"]["healthcheck"]["test"][1].replace("$$", "$")
    kubernetes = container("worker")["livenessProbe"]["exec"]["command"]
    return {"compose": ["sh", "-c", compose], "kubernetes": kubernetes}


@pytest.mark.parametrize("place", ["compose", "kubernetes"])
@pytest.mark.parametrize(
    ("age", "alive"), [(ReliabilityPolicy().heartbeat_every, True), (120, False), (None, False)]
)
def test_liveness_is_the_age_of_the_heartbeat_file(tmp_path, place, age, alive):
    path = environment("worker")["CF_WORKERS_WORKER__HEARTBEAT_FILE"]
    file = tmp_path / "alive"
    if age is not None:
        file.touch()
        os.utime(file, (time.time() - age,) * 2)

    command = [word.replace(path, str(file)) for word in liveness_commands()[place]]

    assert (subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0) is alive
    assert COMPOSE["services"]["worker"]["environment"]["CF_WORKERS_WORKER__HEARTBEAT_FILE"] == path
    assert any(one["mountPath"] == "/tmp" for one in container("worker")["volumeMounts"])


def test_one_beat_follows_another():
    assert workload("beat")["spec"]["replicas"] == 1
    assert workload("beat")["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("name", ["flower", "redis"])
def test_services_lead_to_their_pods(name):
    (service,) = [one for one in OBJECTS if one["kind"] == "Service" and one["metadata"]["name"] == name]
    template = workload(name)["spec"]["template"]

    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    ports = {one["name"] for one in container(name)["ports"]}
    assert {one["targetPort"] for one in service["spec"]["ports"]} <= ports


def test_everything_but_what_needs_keda_is_applied_together():
    (kustomization,) = KUBERNETES["kustomization.yaml"]

    assert set(kustomization["resources"]) == KUBERNETES.keys() - {"kustomization.yaml", "keda.yaml"}
    assert all(
        one["metadata"].get("namespace", "cf-workers") == "cf-workers"
        for one in OBJECTS
        if one["kind"] != "Kustomization"
    )


def test_keda_scales_the_workers_on_what_waits_and_what_runs():
    (scaled,) = KUBERNETES["keda.yaml"]
    (trigger,) = scaled["spec"]["triggers"]

    assert scaled["spec"]["scaleTargetRef"]["name"] == workload("worker")["metadata"]["name"]
    assert scaled["spec"]["minReplicaCount"] >= 1
    assert {"cf_workers_queue_messages", "cf_workers_running_steps"} == named(trigger["metadata"]["query"])
    assert int(trigger["metadata"]["threshold"]) < int(
        environment("worker")["CF_WORKERS_WORKER__CONCURRENCY"]
    )


@pytest.mark.parametrize("text", ["redis.conf", "redis", "redis-cache"])
def test_no_server_evicts_what_others_rely_on(text):
    if text == "redis.conf":
        (found,) = [one["data"][text] for one in OBJECTS if text in one.get("data", {})]
    else:
        found = COMPOSE["configs"][text]["content"]

    assert "maxmemory-policy noeviction" in found.splitlines()
    assert ("appendonly yes" in found.splitlines()) is (text != "redis-cache")


def test_a_server_of_its_own_for_the_cache_is_there_when_asked_for():
    assert COMPOSE["services"]["redis-cache"]["profiles"] == ["cache"]
    for name in OURS:
        assert COMPOSE["services"][name]["environment"]["CF_WORKERS_CACHE_URL"] == "${CF_WORKERS_CACHE_URL:-}"


def named(text: str) -> set[str]:
    """The metrics of ours that a query or a file speaks of."""
    return set(re.findall(r"\bcf_workers_\w+\b(?!\.)", text))


def exported(engine) -> set[str]:
    """Every name under which a sample of ours can be found."""
    heartbeat, registry = SimpleNamespace(held=0, failures=0, running=True), CollectorRegistry()
    guard = Guard(engine.client, engine.keys)
    CallMeter(registry)
    registry.register(WorkerCollector(guard, heartbeat))
    registry.register(
        FleetCollector(
            engine.client,
            engine.keys,
            guard=guard,
            look=lambda queues: [QueueState(queue, 0) for queue in queues],
            cache=CacheStats,
        )
    )
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return {
        f"{family.name}{ending}" for family in registry.collect() for ending in endings.get(family.type, [""])
    }


@pytest.mark.parametrize("path", ASKING)
def test_every_metric_that_is_asked_for_is_exported(engine, path):
    asked = named((DEPLOY / path).read_text())

    assert asked
    assert asked <= exported(engine)


def test_every_alert_says_what_is_wrong_and_how_bad_that_is():
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]

    for rule in group["rules"]:
        assert {"summary", "description"} == rule["annotations"].keys(), rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_prometheus_reads_the_rules_and_asks_where_something_answers():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    fixed = [one for job in config["scrape_configs"] for one in job.get("static_configs", [])]

    assert all((DEPLOY / "prometheus" / name).exists() for name in config["rule_files"])
    assert [one["targets"] for one in fixed] == [["flower:5555"]]


def test_panels_of_the_dashboard_have_places_of_their_own():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_image_runs_as_nobody_in_particular():
    lines = (ROOT / "Dockerfile").read_text().splitlines()

    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert all(
        workload(name)["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 10001 for name in OURS
    )
