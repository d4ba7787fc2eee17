"""`run_agent` is an ordinary Celery task: it goes into anybody's chain, group and chord."""

import json

import pytest

from tests.support.stack import user_text

pytestmark = pytest.mark.integration

PROGRAM = """
import json
from celery import chain, chord
from cf_workers.tasks import run_agent

linked = chain(run_agent.s("writer", "Find facts"), run_agent.s("reviewer", "Check the facts"))()
joined = chord(
    [run_agent.s("writer", "First half"), run_agent.s("tester", "Second half")],
    run_agent.s("reviewer", "Put the halves together"),
)()
alone = run_agent.delay("writer", "Say hello", max_tokens=50, model="claude-haiku-4-5")
results = {"chain": linked.get(timeout=60), "chord": joined.get(timeout=60), "alone": alone.get(timeout=60)}
print(json.dumps({**results, "before": linked.parent.get(timeout=60)}))
"""


def test_earlier_results_of_a_chain_and_a_chord_are_shown_as_previous_outputs(stack, project):
    program = stack.script(PROGRAM, cwd=project.root)

    assert program.wait(timeout=60) == 0
    results = json.loads(program.output().splitlines()[-1])

    assert all(results[name]["success"] for name in ("chain", "chord", "alone"))
    (linked,) = stack.calls("Check the facts")
    assert 'output of step "previous-1" by agent "writer"' in user_text(linked)
    assert results["before"]["output"] in user_text(linked)
    (joined,) = stack.calls("Put the halves together")
    first, second = 'step "previous-1" by agent "writer"', 'step "previous-2" by agent "tester"'
    assert user_text(joined).index(first) < user_text(joined).index(second)
    assert results["alone"]["metadata"]["model"].startswith("claude-haiku-4-5")
    assert len(stack.calls()) == 6


def test_the_prompt_is_not_shown_in_the_workers_log(stack, project):
    worker, *_ = stack.processes
    program = stack.script(
        "from cf_workers.tasks import run_agent\n"
        'run_agent.delay("writer", "a secret recipe").get(timeout=60)',
        cwd=project.root,
    )

    assert program.wait(timeout=60) == 0

    (call,) = stack.calls("a secret recipe")
    assert "a secret recipe" not in worker.output()
    assert call.body_sha256[:12] not in worker.output(), "the answer quotes the prompt as often as not"
