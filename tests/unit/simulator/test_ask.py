"""Which requests would the API accept?"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.simulator.ask import FIELDS, Ask, checked, parsed
from cf_workers.simulator.models import catalogue
from cf_workers.simulator.problem import ApiProblem
from cf_workers.simulator.prompt_cache import blocks_of
from cf_workers.simulator.replies import compose

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
        {"stop_sequences": 5},
        {"tools": {}},
        {"messages": [{"role": "user", "content": 5}]},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_kind_is_refused(change):
    assert refusal(GOOD | change).status == 400


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff", b'{"a": NaN}', b'{"a": "\\uD800"}', b"[" * 100_000]
)
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "ttl", "format", "schema", "enum", "items"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*sorted(FIELDS), "messages"]), JSON))
def test_whatever_the_fields_hold_it_is_answered_or_refused(fields):
    assert outcome(Ask(GOOD | fields)) in ("answered", 400, 404)


@given(JSON)
def test_whatever_schema_is_demanded_it_is_answered_or_refused(schema):
    output = {"format": {"type": "json_schema", "schema": schema}}

    assert outcome(Ask(GOOD | {"max_tokens": 1000, "output_config": output})) in ("answered", 400)


def outcome(ask: Ask) -> str | int:
    try:
        checked(ask, MODELS, NOW, beta=False)
        blocks_of(ask.body)
        return "answered" if compose(ask).stop_reason else "no stop reason"
    except ApiProblem as problem:
        return problem.status
