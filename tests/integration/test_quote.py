"""A quote knows what is in the cache and what was executed before."""

import pytest

from cf_workers._redis import Keys, connect
from cf_workers.agents.definition import AgentDefinition, AgentReply, Usage
from cf_workers.answers import Answer, call_for, entry_of, key_of, succeeded
from cf_workers.client import Client
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.record import NewRun, RunStore
from tests.support.commands import Commands
from tests.support.stack import step

pytestmark = pytest.mark.integration

USAGE = Usage(input_tokens=900, output_tokens=100)
COST_USD = 900e-6 + 100 * 5e-6
MODEL = "claude-haiku-4-5"


@pytest.fixture
def client(valkey, project):
    project.workflow(
        "review",
        step("lint", task="Lint {{ inputs.path }}", model=MODEL),
        step("types", task="Check", model=MODEL),
        step("verdict", "lint", "types", agent="reviewer", model=MODEL),
    )
    with Client(config=project.file, redis_url=valkey.url) as made:
        yield made


def run_before(valkey, client, times):
    """Leave behind what workers would: committed steps with what they took."""
    redis, keys = connect(valkey.url), Keys()
    store = RunStore(redis, keys, Definitions(redis, keys))
    plan = client.check_workflow("review", inputs={"path": "src"}).plan
    for number in range(times):
        Definitions(redis, keys).pin(f"r{number}", {plan.digest: plan.text}, 1000)
        store.start(NewRun(run=f"r{number}", kind="workflow", plan=plan))
        header = store.header(f"r{number}", 1)
        for name in plan.graph.order:
            one = plan.by_id[name]
            claim = store.claim(header, one, "w", may_take_over=False)
            answer = Answer(AgentReply("fine", MODEL, USAGE, "end_turn"), 1.5)
            store.commit(claim, succeeded(answer, one, attempts=1))


def test_a_quote_prints_hits_costs_and_times_from_what_is_known(valkey, client, project, tmp_path):
    cf = Commands(tmp_path, project.root, {"CF_WORKERS_REDIS_URL": valkey.url})
    words = ("workflow", "plan", "review", "--cost", "--input", "path=src")
    before = cf(*words, "--json").document["quote"]
    assert {one["basis"] for one in before["steps"]} == {"estimate"}
    assert 0 < before["cost_usd"]["low"] < before["cost_usd"]["likely"] < before["cost_usd"]["high"]

    run_before(valkey, client, 5)
    planned = client.check_workflow("review", inputs={"path": "src"})
    reply = AgentReply("fine", MODEL, USAGE, "end_turn")
    lint = planned.plan.by_id["lint"]
    call = call_for(
        AgentDefinition.model_validate_json(planned.definitions[lint.definition]), lint, task="Lint src"
    )
    entry = entry_of(call, reply, workflow="review")
    key = key_of(call, client.settings.answers_namespace)
    client.cache.store(key, entry.document, tags=entry.tags, cost_nanos=entry.cost_nanos)

    quote = cf(*words, "--json").document["quote"]
    assert {one["basis"] for one in quote["steps"]} == {"history"}
    assert [(one["step"], one["hit"], one["hit_known"]) for one in quote["steps"]] == [
        ("lint", 1, True),
        ("types", 0, True),
        ("verdict", 0, False),
    ]
    assert quote["cost_usd"]["likely"] == pytest.approx(2 * COST_USD)
    assert quote["seconds"]["likely"] == 3.0
    assert quote["critical_path"] == ["types", "verdict"]
    text = cf(*words).out
    assert f"cost: likely ${2 * COST_USD:.4f}" in text
    assert "expected cache hits: 1.0 of 3 steps" in text
