"""Which requests meet which fault?"""

import pytest
from pydantic import TypeAdapter, ValidationError

from cf_workers.errors import ConfigError
from cf_workers.simulator.faults import (
    MESSAGES,
    NAMED,
    Fault,
    FaultPlan,
    RandomFault,
    ScriptedFault,
    Traits,
    fault_named,
)
from cf_workers.simulator.problem import ApiProblem

PLAIN = Traits(MESSAGES, model="claude-opus-5-5", agent="Code Reviewer", text="please review")


def test_a_script_is_worked_off_in_order():
    plan = FaultPlan()
    plan.script([ScriptedFault(Fault(status=529), times=2), ScriptedFault(Fault(kind="reset"))])

    met = [plan.pick(PLAIN) for _ in range(4)]

    assert [fault and (fault.kind, fault.status) for fault in met] == [
        ("status", 529),
        ("status", 529),
        ("reset", 529),
        None,
    ]
    assert plan.pending() == []


def test_a_fault_without_times_stays_until_the_script_is_cleared():
    plan = FaultPlan()
    plan.script([ScriptedFault(Fault(), times=None)])

    assert all(plan.pick(PLAIN) for _ in range(50))
    plan.clear()
    assert plan.pick(PLAIN) is None


def test_a_fault_may_let_requests_pass_first():
    plan = FaultPlan()
    plan.script([ScriptedFault(Fault(), skip=2)])

    assert [bool(plan.pick(PLAIN)) for _ in range(4)] == [False, False, True, False]


@pytest.mark.parametrize(
    "wanted",
    [
        {"model": "claude-haiku-5-5"},
        {"agent": "tester"},
        {"contains": "please write"},
        {"path": "/v1/messages/count_tokens"},
    ],
    ids=str,
)
def test_a_fault_meets_only_requests_that_match(wanted):
    plan = FaultPlan()
    plan.script([ScriptedFault(Fault(), **wanted)])

    assert plan.pick(PLAIN) is None
    assert len(plan.pending()) == 1


def test_an_agent_is_matched_by_a_part_of_its_heading_in_any_case():
    plan = FaultPlan()
    plan.script([ScriptedFault(Fault(), agent="code review", model="claude-opus-5-5", contains="review")])

    assert plan.pick(PLAIN)


def test_chance_strikes_at_its_rate_and_repeats_with_its_seed():
    def struck(seed: int) -> list[bool]:
        plan = FaultPlan([RandomFault(Fault(), 0.2)], seed)
        return [bool(plan.pick(PLAIN)) for _ in range(2000)]

    assert struck(1) == struck(1) != struck(2)
    assert 300 < sum(struck(1)) < 500


@pytest.mark.parametrize("name", [*NAMED, "reset", "hang", "thinking", "400", "503", "529"])
def test_every_fault_has_a_name(name):
    assert isinstance(fault_named(name), Fault)


@pytest.mark.parametrize("name", ["status", "200", "999", "nonsense", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match="no fault") as caught:
        fault_named(name)

    assert "spend_limit" in (caught.value.hint or "")


def test_a_spend_limit_says_no_retry_after_and_a_rate_limit_does():
    assert "retry-after" not in ApiProblem.of(fault_named("spend_limit")).headers
    assert ApiProblem.of(fault_named("ramp_limit")).headers == {"retry-after": "1"}
    assert ApiProblem.of(Fault(status=529, should_retry=False)).headers == {"x-should-retry": "false"}


def test_an_error_body_has_the_type_of_its_status_and_the_code_of_its_fault():
    body = ApiProblem.of(fault_named("spend_limit")).body("req_1")

    assert body["request_id"] == "req_1"
    assert body["error"]["type"] == "rate_limit_error"
    assert body["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}
    assert "details" not in ApiProblem.of(Fault(status=500)).body("req_1")["error"]


@pytest.mark.parametrize(
    "spelling",
    [{"fault": "529", "tmies": 2}, {"fault": "nope"}, {"fault": {"kind": "status", "status": 200}}, {}],
    ids=str,
)
def test_a_misspelt_script_is_refused(spelling):
    with pytest.raises(ValidationError):
        TypeAdapter(ScriptedFault).validate_python(spelling)
