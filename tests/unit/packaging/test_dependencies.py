"""A plain installation has all that is imported, whatever else the developers have installed."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement

from tests.support.environ import ROOT, clean_environ

PROGRAM = """
import importlib, sys

refused = set(sys.argv[1].split(","))

class NotThere:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotThere())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_with_us():
    """Every distribution that a plain installation brings along."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    left = [(Requirement(text), "") for text in wanted]
    found, seen = {"cf-workers"}, set()
    while left:
        requirement, extra = left.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = normalized(requirement.name)
        found.add(name)
        for asked in {"", *requirement.extras}:
            if (name, asked) not in seen:
                seen.add((name, asked))
                try:
                    left += [(Requirement(text), asked) for text in requires(name) or ()]
                except PackageNotFoundError:
                    continue  # not needed on this machine
    return found


def modules_of_others():
    """Top modules that are here because of something else."""
    ours = installed_with_us()
    return {
        module
        for module, owners in packages_distributions().items()
        if not {normalized(owner) for owner in owners} & ours
    }


@pytest.mark.parametrize(
    "modules",
    [
        ("cf_workers.celery", "kombu.transport.redis", "celery.backends.redis"),
        ("cf_workers.beat", "cf_workers.cli.program", "cf_workers.cli.up", "cf_workers.orchestrator"),
        ("cf_workers.flower.beginning", "cf_workers.agents.provider", "cf_workers.simulator"),
    ],
    ids=lambda modules: modules[0],
)
def test_everything_that_is_imported_is_a_dependency(tmp_path, modules):
    others = modules_of_others() - {"cf_workers"}

    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(sorted(others)), *modules],
        env=clean_environ(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert {"pytest", "hypothesis"} <= others
    assert ended.returncode == 0, ended.stderr[-2000:]
