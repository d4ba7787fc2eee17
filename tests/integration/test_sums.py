"""What ten thousand concurrent executions cost is known to the last billionth of a dollar."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from cf_workers._redis import Keys, connect
from cf_workers.agents.definition import AgentReply, Usage
from cf_workers.answers import Answer, succeeded
from cf_workers.workflows.accounts import Accounts
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.history import History
from cf_workers.workflows.plan import Plan
from cf_workers.workflows.record import NewRun, RunStore
from tests.support.engine import step

pytestmark = pytest.mark.integration

RUNS, STEPS, THREADS = 100, 100, 16
PRICES = {
    "claude-haiku-5-5": (100, 500),
    "claude-opus-5-5": (4000, 20_000),
    "claude-sonnet-5": (2000, 10_000),
}
"""Billionths of a dollar for a token of input and of output."""


class Fleet:
    """Workers of one process; what they should have spent is summed beside them, by hand."""

    def __init__(self, url):
        self.client, self.keys = connect(url), Keys()
        self.definitions = Definitions(self.client, self.keys)
        self.store = RunStore(self.client, self.keys, self.definitions)
        self.chance = random.Random(5)
        self.expected: Counter[str] = Counter()

    def start(self, run, number):
        """Start a run, and tell what there is to do."""
        models = [self.chance.choice(list(PRICES)) for _ in range(STEPS)]
        steps = tuple(step(f"s{n}", agent=f"agent-{n % 7}", model=model) for n, model in enumerate(models))
        plan = Plan(workflow=f"workflow-{number % 3}", steps=steps)
        self.definitions.pin(run, {plan.digest: plan.text}, 1000)
        self.store.start(NewRun(run=run, kind="workflow", plan=plan))
        return [(run, one, self._usage(run, plan.workflow, one)) for one in steps]

    def execute(self, job):
        run, one, usage = job
        claim = self.store.claim(self.store.header(run, 1), one, "w", may_take_over=False)
        outcome = succeeded(Answer(AgentReply("fine", one.model, usage, "end_turn"), 0.1), one, attempts=1)
        self.store.commit(claim, outcome)
        if usage.input_tokens % 4 == 0:  # an answer that was not heard: the commit is repeated
            self.store.commit(claim, outcome)

    def _usage(self, run, workflow, one):
        usage = Usage(
            input_tokens=self.chance.randrange(1, 9999), output_tokens=self.chance.randrange(1, 4096)
        )
        own, out = PRICES[one.model]
        nanos = usage.input_tokens * own + usage.output_tokens * out
        self.expected.update(dict.fromkeys(("day", run, workflow, one.agent, one.model), nanos))
        return usage


def test_runs_agents_workflows_models_and_the_day_add_up_exactly(valkey):
    fleet = Fleet(valkey.url)
    work = [job for number in range(RUNS) for job in fleet.start(f"r{number}", number)]
    fleet.chance.shuffle(work)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fleet.execute, work))

    rows = Accounts(fleet.client, fleet.keys).day()
    found: Counter[str] = Counter()
    for row in rows:
        found.update(dict.fromkeys(("day", row.workflow, row.agent, row.model), row.sums["cost_nanos"]))
    for number in range(RUNS):
        found[f"r{number}"] = int(fleet.client.hget(fleet.keys.run(f"r{number}").run, "cost_nanos"))
    assert found == fleet.expected
    assert sum(row.sums["executions"] for row in rows) == RUNS * STEPS
    assert sum(row.sums["milliseconds"] for row in rows) == RUNS * STEPS * 100
    history = History(fleet.client, fleet.keys, fleet.definitions)
    assert history.document("r0")["estimated_cost"] == fleet.expected["r0"] / 1e9
