"""What a caller gets back says the same as the document it comes from."""

import pytest

from cf_workers.client import ExecutionResult, Outcome, RunResult
from cf_workers.errors import LostError
from cf_workers.workflows.outcome import Outcome as Ended
from tests.support.engine import FAILED, diamond, plan


def test_a_runs_result_tells_of_every_step(engine):
    header = engine.record(diamond())
    for one in ("start", "left"):
        engine.finish_step(
            header, one, Ended("succeeded", 1, {"estimated_cost": 0.5}, f"from {one}", cost_nanos=5)
        )
    engine.finish_step(header, "right", FAILED)
    engine.store.commit(engine.claim(header, "end"), Ended("skipped", 0, {}))
    engine.store.finish(header.run, 1)
    document = engine.history.document(header.run)

    result = RunResult.of(document)

    assert (result.run_id, result.workflow_name, result.status) == (header.run, "review", "failed")
    assert not result.success
    assert result.execution_order == ["start", "left", "right", "end"]
    assert result.results["left"].output == "from left"
    assert result.results["left"].estimated_cost == 0.5
    assert result.results["right"].error["message"] == "no"
    assert result.results["end"].status == "skipped"
    assert result.total_time_seconds == document["total_time_seconds"] >= 0
    assert result.estimated_cost == pytest.approx(10e-9)
    assert result.document is document


def test_an_executions_result_names_its_agent_and_its_id(engine):
    header = engine.record(plan("greeter"), run="e1")
    engine.finish_step(header, "greeter", Ended("succeeded", 2, {}, "hello"))
    engine.store.finish("e1", 1)

    result = ExecutionResult.of(engine.history.execution("e1"))

    assert (result.id, result.agent_name, result.output) == ("e1", "greeter", "hello")
    assert result.metadata["attempts"] == 2


def test_an_execution_without_an_output_gives_an_empty_text(engine):
    header = engine.record(plan("greeter"), run="e1")
    engine.finish_step(header, "greeter", Ended("succeeded", 1, {}))
    engine.store.finish("e1", 1)

    assert ExecutionResult.of(engine.history.execution("e1")).output == ""


def test_an_outcome_is_a_result_or_raises_its_error(engine):
    result = ExecutionResult("e1", "greeter", "hello", {}, {})

    good, bad = Outcome(result=result), Outcome(error=LostError("lost"))

    assert (good.ok, good.unwrap()) == (True, result)
    assert not bad.ok
    with pytest.raises(LostError, match="lost"):
        bad.unwrap()
