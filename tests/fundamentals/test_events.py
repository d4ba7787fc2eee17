"""Follow a run while it happens."""

import pytest

from cf_workers.simulator import ScriptedFault
from tests.support.stack import step

pytestmark = pytest.mark.integration


def test_events_tell_the_story_of_a_run_and_end_with_it(stack, project):
    stack.simulator.set_faults(ScriptedFault("529", contains="do b"))
    run = stack.client(project.workflow("short", step("a"), step("b", "a"))).start_workflow("short")

    events = list(run.events())

    assert [(event.type, event.step) for event in events] == [
        ("run.created", None),
        ("run.started", None),
        ("step.started", "a"),
        ("step.succeeded", "a"),
        ("step.started", "b"),
        ("step.retrying", "b"),
        ("step.started", "b"),
        ("step.succeeded", "b"),
        ("run.finished", None),
    ]
    assert events[-1].data["status"] == "succeeded"
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert "overloaded" in events[5].data["reason"].casefold()


def test_events_of_a_run_that_has_ended_are_all_there(stack, project):
    run = stack.client(project.workflow("short", step("a"))).start_workflow("short")
    run.result(timeout=60)

    assert [event.type for event in run.events()][-1] == "run.finished"
