"""Which requests would the API accept?"""

from typing import Any

import pytest

from cf_workers.simulator.ask import Ask, checked, parsed
from cf_workers.simulator.models import catalogue
from cf_workers.simulator.problem import ApiProblem

MODELS = catalogue(["my-own-model"])
NOW = "2026-10-21"
GOOD: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "hello"}],
}


def refusal(body: dict[str, Any], version: str = NOW, *, beta: bool = False) -> ApiProblem:
    with pytest.raises(ApiProblem) as caught:
        checked(Ask(body), MODELS, version, beta=beta)
    return caught.value


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def test_a_well_formed_request_is_accepted_for_the_model_it_names():
    assert checked(Ask(GOOD), MODELS, NOW, beta=False).id == "claude-opus-5-5"


def test_a_model_added_by_configuration_is_accepted():
    assert checked(Ask(GOOD | {"model": "my-own-model"}), MODELS, NOW, beta=False).id == "my-own-model"


@pytest.mark.parametrize("name", ["model", "max_tokens", "messages"])
def test_a_missing_required_field_is_named(name):
    problem = refusal(without(name))

    assert (problem.status, problem.text) == (400, f"{name}: Field required")


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_parameters_are_refused_by_the_current_version_only(name):
    assert refusal(GOOD | {name: 1}).text == f"{name}: Extra inputs are not permitted"
    assert checked(Ask(GOOD | {name: 1}), MODELS, "2023-06-01", beta=False)


def test_unknown_fields_need_a_beta_header():
    body = GOOD | {"mcp_servers": []}

    assert "mcp_servers" in refusal(body).text
    assert checked(Ask(body), MODELS, NOW, beta=True)


def test_a_thread_is_refused_with_the_code_that_makes_the_runner_send_its_history():
    problem = refusal(GOOD | {"thread": {"type": "create"}}, beta=True)

    assert (problem.status, problem.code) == (400, "thread_unsupported_request")


@pytest.mark.parametrize("model", ["claude-nonesuch-9", "claude-mythos-preview"], ids=["unknown", "retired"])
def test_a_model_that_does_not_answer_is_not_found(model):
    problem = refusal(GOOD | {"model": model})

    assert (problem.status, problem.type) == (404, "not_found_error")


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": "10"},
        {"max_tokens": True},
        {"max_tokens": -1},
        {"max_tokens": 0, "stream": True},
        {"messages": []},
        {"messages": "hello"},
        {"messages": ["hello"]},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"model": 5},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_kind_is_refused(change):
    assert refusal(GOOD | change).status == 400


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(raw):
    with pytest.raises(ApiProblem) as caught:
        parsed(raw)

    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("system", "agent"),
    [
        ("intro\n\n# Code Reviewer\n", "Code Reviewer"),
        (
            [{"type": "text", "text": "You are terse.\nVery."}, {"type": "text", "text": "# Two"}],
            "You are terse.",
        ),
        (None, "Assistant"),
    ],
    ids=["heading", "first line", "none"],
)
def test_the_agent_is_the_first_heading_or_line_of_the_first_system_block(system, agent):
    assert Ask(GOOD | {"system": system}).agent == agent
