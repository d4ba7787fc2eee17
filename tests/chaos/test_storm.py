"""Everything goes wrong at once, and every run ends as if nothing had: once, in order, and accounted for.

Workers are killed and frozen, the server is killed, all connections are cut, messages come twice, a fifth of
all calls fail. The seed decides what happens when: `CF_WORKERS_TEST_SEED=7 scripts/test -k storm`. The long
storms: `scripts/test -m slow`, and `python benchmarks/chaos.py`.
"""

import json
import os

import pytest

from tests.support.chaos.storm import Weather
from tests.support.chaos.trial import QUICK_TO_HEAL, Plan, Trial

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

SEED = int(os.environ.get("CF_WORKERS_TEST_SEED", "20"))
SHORT = Weather(
    kill_worker=3,
    freeze_worker=4,
    kill_server=5,
    cut_connections=2.5,
    duplicate=0.1,
    freeze_seconds=(0.5, 6),
    outage_seconds=(0.5, 2),
)


def gone_through(tmp_path, plan):
    outcome = Trial(plan, tmp_path)()
    print(f"seed {plan.seed}: {json.dumps(outcome.figures)}")  # noqa: T201 - shown when the test fails
    return outcome


@pytest.mark.parametrize("cached", [False, True], ids=["without a cache", "with a cache"])
def test_every_run_gets_through_a_short_storm(tmp_path, cached):
    plan = Plan(
        SEED,
        runs=8,
        at_once=4,
        storm_seconds=9,
        weather=SHORT,
        cached=cached,
        call_seconds=0.5,
        call_timeout_seconds=3,
        settings=QUICK_TO_HEAL,
    )

    outcome = gone_through(tmp_path, plan)

    assert outcome.audit.wrong == []
    assert set(outcome.happened) >= {
        "workers killed",
        "workers frozen",
        "server killed",
        "all connections cut",
        "messages delivered again",
    }


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True], ids=["without a cache", "with a cache"])
def test_every_run_gets_through_a_long_storm(tmp_path, cached):
    outcome = gone_through(tmp_path, Plan(SEED, runs=60, cached=cached))

    assert outcome.audit.wrong == []
