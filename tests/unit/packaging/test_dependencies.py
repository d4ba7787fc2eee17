"""`pip install .` alone brings everything that is used at run time; tests see more than that."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.environ import ROOT

LOADED = """
import json, sys
import celery.backends.redis, celery.bin.celery, kombu.transport.redis, kombu.transport.pyamqp
import flower.command, flower.app
import cf_workers.beat, cf_workers.celery, cf_workers.cli.up, cf_workers.embedded, cf_workers.orchestrator
import cf_workers.agents.provider, cf_workers.metrics, cf_workers.simulator
print(json.dumps(sorted({name.partition(".")[0] for name, module in sys.modules.items() if module})))
"""

OPTIONAL = {
    "setuptools",  # loaded by a .pth file of editable installations
    "coverage",  # measures the tests
    "colorama",  # used by others where it happens to be there
    "msgpack",
    "pyyaml",
}


def installed_with(name, extras=()):
    """The distribution and all that it requires, with these extras."""
    found, left = set(), [(name, frozenset(extras))]
    while left:
        current = left.pop()
        if current in found:
            continue
        found.add(current)
        for text in requires(current[0]) or ():
            one = Requirement(text)
            wanted = [{"extra": extra} for extra in current[1]] or [{"extra": ""}]
            if one.marker is None or any(one.marker.evaluate(environment) for environment in wanted):
                left.append((one.name, frozenset(one.extras)))
    return {canonicalize_name(one) for one, _ in found}


def test_what_is_loaded_at_run_time_is_required_at_run_time():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [Requirement(text) for text in project["dependencies"]]
    required = set().union(*(installed_with(one.name, one.extras) for one in direct if _applies(one)))
    loaded = json.loads(
        subprocess.run(
            [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
        ).stdout
    )
    homes = packages_distributions()
    allowed = required | {canonicalize_name(one) for one in (*OPTIONAL, "cf-workers")}

    missing = {
        module: homes[module]
        for module in loaded
        if module in homes and not {canonicalize_name(one) for one in homes[module]} & allowed
    }

    assert missing == {}


def _applies(one):
    return one.marker is None or one.marker.evaluate({"extra": ""})
