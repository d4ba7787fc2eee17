"""What a person deploys with: the lock, the Compose file, the Procfile."""

import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import yaml

from tests.support.environ import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = ("worker", "beat", "flower")
SECRETS = (
    "ANTHROPIC_API_KEY",
    "CLAUDE_CACHE_SECRET",
    "FLOWER_BASIC_AUTH",
    "REDISCLI_AUTH",
    "CF_WORKERS_REDIS_URL",
)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_names() -> set[str]:
    return {normalized(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", LOCK, re.MULTILINE)}


def test_the_lock_pins_every_package_with_hashes_and_names_no_registry() -> None:
    pins = re.split(r"\n(?=[a-zA-Z0-9])", LOCK)[1:]

    assert all(re.match(r"[a-zA-Z0-9._-]+==\S+", pin) and "--hash=sha256:" in pin for pin in pins)
    assert "://" not in LOCK
    assert "index" not in LOCK


def test_the_lock_covers_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["test"], *extras["lint"], "setuptools"]

    names = {normalized(re.match(r"[A-Za-z0-9._-]+", each)[0]) for each in asked}

    assert names <= locked_names()


def test_workers_can_be_scaled() -> None:
    assert not {"container_name", "ports", "hostname"} & set(COMPOSE["services"]["worker"])


@pytest.mark.parametrize("name", ["redis", *OURS])
def test_every_service_is_checked_and_comes_back(name) -> None:
    service = COMPOSE["services"][name]

    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", OURS)
def test_services_wait_for_a_healthy_redis(name) -> None:
    assert COMPOSE["services"][name]["depends_on"]["redis"]["condition"] == "service_healthy"


def test_no_secret_is_written_into_the_compose_file() -> None:
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            assert name not in SECRETS or re.search(r"\$\{[A-Z_]+:\?", value), name


def test_redis_keeps_messages_and_never_evicts() -> None:
    settings = COMPOSE["configs"]["redis"]["content"].splitlines()

    assert "appendonly yes" in settings
    assert "maxmemory-policy noeviction" in settings


def test_the_procfile_is_valid_and_runs_what_compose_runs() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "honcho.command", "-f", str(ROOT / "Procfile"), "check"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())

    assert checked.returncode == 0, checked.stderr
    assert lines == {name: COMPOSE["services"][name]["command"] for name in OURS}
    assert all(shlex.split(line)[:3] == ["celery", "-A", "cf_workers"] for line in lines.values())
