"""What a canvas hands over becomes previous outputs, an agent and a task; prompts stay out of events."""

import pytest

from cf_workers.errors import InputError
from cf_workers.tasks import run_agent
from cf_workers.tasks.agent import read_arguments
from cf_workers.tasks.request import identify

RESULT = {"agent_name": "researcher", "output": "found it", "success": True}
OTHER = {"agent_name": "critic", "output": "hm"}


def test_an_agent_and_a_task_are_enough():
    assert read_arguments(("writer", "Write")) == ([], "writer", "Write")


def test_in_a_chain_the_previous_result_comes_first():
    previous, agent, task = read_arguments((RESULT, "writer", "Write"))

    assert previous == [{"agent": "researcher", "output": "found it"}]
    assert (agent, task) == ("writer", "Write")


def test_in_a_chords_body_all_results_come_first_in_their_order():
    previous, _, _ = read_arguments(([RESULT, OTHER], "writer", "Write"))

    assert [one["agent"] for one in previous] == ["researcher", "critic"]


def test_an_empty_chord_hands_nothing_over():
    assert read_arguments(([], "writer", "Write"))[0] == []


@pytest.mark.parametrize("foreign", [5, None, {"output": "x"}, [RESULT, "text"], {"agent_name": "a"}])
def test_a_previous_result_that_is_not_one_of_its_own_is_refused(foreign):
    with pytest.raises(InputError, match="not one of its own") as caught:
        read_arguments((foreign, "writer", "Write"))

    assert ".si(" in caught.value.hint


@pytest.mark.parametrize("args", [(), ("writer",), ("writer", "Write", "more"), ("writer", 5), (RESULT,)])
def test_too_few_too_many_or_other_arguments_are_refused(args):
    with pytest.raises(InputError, match="the agent's name and a task"):
        read_arguments(args)


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (("writer", "a secret prompt"), "agent=writer"),
        ((RESULT, "writer", "a secret prompt"), "agent=writer"),
        (([RESULT], "writer", "a secret prompt"), "agent=writer"),
        ((), "agent=?"),
        ((5,), "agent=?"),
        (("an answer of another task", "writer", "a secret prompt"), "agent=?"),
        (("a secret prompt",), "agent=?"),
        (("writer",), "agent=writer"),
    ],
)
def test_only_the_agent_is_shown_of_the_arguments(args, shown):
    assert identify(args) == shown


def test_the_prompt_is_neither_in_the_events_nor_in_the_logs(engine):
    run_agent.apply_async(("writer", "a secret prompt"), {"model": "secret-model"}, queue="interactive")

    (message,) = engine.published()
    assert (message.headers["argsrepr"], message.headers["kwargsrepr"]) == ("agent=writer", "{}")
    assert "secret" not in str(message.headers)
    assert message.args == ("writer", "a secret prompt")
