"""Two hundred runs and one budget: nothing is spent beyond it, and all end once it is raised."""

import pytest

from cf_workers.agents.prices import cost_nanos
from cf_workers.agents.reply import usage_of
from tests.support import eventually
from tests.support.commands import Commands
from tests.support.stack import step

pytestmark = pytest.mark.integration

RUNS, MODEL = 200, "claude-haiku-4-5"
BUDGET_USD = 0.25


def spent_at_the_provider(stack):
    """What the provider would bill, by what it answered."""
    return sum(cost_nanos(MODEL, usage_of({"usage": call.usage})) for call in stack.calls())


def test_nothing_is_overspent_by_many_runs_at_once_and_all_end_after_a_raise(own_stack, project, tmp_path):
    project.section("budgets", namespace=BUDGET_USD)
    project.workflow("review", step("a", model=MODEL, max_tokens=1000, task="[[sim tokens=400]] Review."))
    own_stack.worker(cwd=tmp_path)
    client = own_stack.client(project)
    cf = Commands(tmp_path, project.root, own_stack.environ)

    runs = [client.start_workflow("review", task=f"number {n}") for n in range(RUNS)]

    def settled():
        states = [run.status() for run in runs]
        (budget,) = client.budgets.status()
        quiet = states.count("succeeded") + states.count("parked") == RUNS and not budget.reserved
        return budget if quiet and budget.waiting == states.count("parked") > 0 else None

    before = eventually(settled, "every run to have ended or to wait for money", timeout=60, every=0.25)
    documents = [client.history.document(run.id) for run in runs]
    paid = sum(round(one["estimated_cost"] * 1e9) for one in documents)
    assert before.spent == paid == spent_at_the_provider(own_stack) <= BUDGET_USD * 1e9
    assert before.uncertain == 0
    ended = [one for one in documents if one["status"] == "succeeded"]
    assert 0 < len(ended) < RUNS
    assert len(own_stack.calls()) == len(ended)

    raised = cf("budget", "set", "namespace", "25", "--json")

    assert raised.document["woken"] == before.waiting
    for run in runs:
        assert run.result(timeout=90).status == "succeeded"
    assert len(own_stack.calls()) == RUNS
    (after,) = client.budgets.status()
    assert after.spent == spent_at_the_provider(own_stack)
    assert (after.limit, after.reserved, after.waiting, after.by_hand) == (25 * 10**9, 0, 0, True)
