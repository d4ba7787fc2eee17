"""A fan-out over one long agent pays once for writing its prompt to the provider's cache."""

import pytest

from tests.support import eventually
from tests.support.stack import step

pytestmark = pytest.mark.integration

WIDTH = 50
LONG = "Be thorough about every line of it. " * 1_200
"""About ten thousand tokens."""


@pytest.fixture
def fan_out(own_stack, project):
    own_stack.simulator.configure(latency=1.0, time_to_first_token=0.2)
    project.agent("writer", LONG, model="claude-sonnet-5")
    project.workflow("wide", *(step(f"s{n}", agent="writer") for n in range(WIDTH)))

    def run(**settings):
        own_stack.settings.update(settings)
        own_stack.worker(cwd=project.root)
        return own_stack.client(project).start_workflow("wide")

    return run


def counted(stack):
    usages = [call.usage for call in stack.calls()]
    return (
        sum(usage["cache_creation_input_tokens"] > 0 for usage in usages),
        sum(usage["cache_read_input_tokens"] > 0 for usage in usages),
    )


def parked(run):
    return {event.step for event in run.events() if event.type == "step.parked"}


def test_one_call_writes_and_the_others_read(fan_out, own_stack):
    run = fan_out(CF_WORKERS_PROMPT_CACHE__LONGEST_SEAT_SECONDS="60")
    result = run.result(timeout=120)

    assert result.success
    assert counted(own_stack) == (1, WIDTH - 1)
    assert result.document["cache_read_ratio"] > 0.9
    assert result.document["prompt_cache_saved_cost"] > 0
    assert {one.attempts for one in result.results.values()} == {1}
    assert parked(run) == set(), "slots enough for all were free"


def test_where_slots_are_scarce_some_wait_without_one_and_read_all_the_same(fan_out, own_stack):
    run = fan_out(CF_WORKERS_WORKER__CONCURRENCY="20")
    result = run.result(timeout=120)

    assert result.success
    assert counted(own_stack) == (1, WIDTH - 1)
    assert {one.attempts for one in result.results.values()} == {1}
    assert parked(run)


def test_switched_off_every_call_writes(fan_out, own_stack):
    own_stack.simulator.configure(hold=True)
    run = fan_out(CF_WORKERS_PROMPT_CACHE__WARM_FIRST="false")
    eventually(lambda: own_stack.simulator.stats().in_flight == WIDTH, "all calls to be under way")
    own_stack.simulator.configure(hold=False)

    result = run.result(timeout=120)

    assert counted(own_stack) == (WIDTH, 0)
    assert result.document["prompt_cache_saved_cost"] < 0
