"""What of a call shapes its answer?"""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.agents.definition import AgentCall, AgentDefinition, DependencyOutput
from cf_workers.agents.fingerprint import call_parts
from cf_workers.cache import fingerprint

words = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
schemas = st.dictionaries(words, st.integers() | words, min_size=1, max_size=3)
outputs = st.lists(st.builds(DependencyOutput, step=words, agent=words, output=words), max_size=3).map(tuple)

AGENT = AgentDefinition(name="reviewer", text="You review.", contract="Be brief.")
CALL = AgentCall(AGENT, "Review this.", "claude-haiku-4-5", 100, 30.0, (DependencyOutput("s", "a", "o"),))

SHAPING = {
    "text": words,
    "contract": words,
    "effort": st.sampled_from(["low", "medium", "high"]),
    "output_schema": schemas,
}
NOT_SHAPING = {
    "name": words,
    "domains": st.lists(words, max_size=2).map(tuple),
    "priority": st.integers(1, 3),
    "model": words,
    "max_tokens": st.integers(1, 9_999),
    "cacheable": st.booleans(),
    "timeout_seconds": st.floats(0.1, 100),
    "max_retries": st.integers(0, 9),
}
CALL_SHAPING = {"task": words, "model": words, "max_tokens": st.integers(1, 9_999), "outputs": outputs}


def key(call: AgentCall, **extra) -> str:
    return fingerprint(call_parts(call, **extra), namespace="n")


def with_agent(**changes) -> AgentCall:
    return replace(CALL, agent=AGENT.model_copy(update=changes))


def test_every_field_of_a_definition_and_of_a_call_has_been_decided_on():
    assert set(AgentDefinition.model_fields) == SHAPING.keys() | NOT_SHAPING.keys()
    assert {field.name for field in fields(AgentCall)} == CALL_SHAPING.keys() | {"agent", "timeout_seconds"}


@pytest.mark.parametrize("field", SHAPING)
@given(data=st.data())
def test_a_change_of_what_the_agent_is_told_is_another_call(field, data):
    one, other = data.draw(SHAPING[field]), data.draw(SHAPING[field])

    assert (key(with_agent(**{field: one})) == key(with_agent(**{field: other}))) == (one == other)


@pytest.mark.parametrize("field", ["contract", "effort", "output_schema"])
@given(data=st.data())
def test_having_a_setting_is_not_the_same_as_having_none(field, data):
    assert key(with_agent(**{field: data.draw(SHAPING[field])})) != key(with_agent(**{field: None}))


@pytest.mark.parametrize("field", NOT_SHAPING)
@given(data=st.data())
def test_what_the_model_never_sees_of_an_agent_makes_no_difference(field, data):
    assert key(with_agent(**{field: data.draw(NOT_SHAPING[field])})) == key(CALL)


@pytest.mark.parametrize("field", CALL_SHAPING)
@given(data=st.data())
def test_a_change_of_the_call_is_another_call(field, data):
    one, other = data.draw(CALL_SHAPING[field]), data.draw(CALL_SHAPING[field])

    assert (key(replace(CALL, **{field: one})) == key(replace(CALL, **{field: other}))) == (one == other)


@given(st.floats(0.1, 1_000))
def test_a_time_out_makes_no_difference(seconds):
    assert key(replace(CALL, timeout_seconds=seconds)) == key(CALL)


@pytest.mark.parametrize("field", ["step", "agent", "output"])
def test_each_part_of_an_upstream_output_counts(field):
    changed = replace(CALL.outputs[0], **{field: "changed"})

    assert key(replace(CALL, outputs=(changed,))) != key(CALL)


@given(words, words)
def test_the_order_of_upstream_outputs_counts(one, other):
    first, second = DependencyOutput("s", "a", one), DependencyOutput("s", "a", other)

    turned = key(replace(CALL, outputs=(second, first)))
    assert (key(replace(CALL, outputs=(first, second))) == turned) == (one == other)


@given(words, words)
def test_text_cannot_move_between_definition_contract_and_task(one, other):
    moved = with_agent(text=one + other, contract=None)

    assert key(with_agent(text=one, contract=other)) != key(moved)
    assert key(replace(CALL, task=one + other, outputs=())) != key(
        replace(CALL, task=one, outputs=(DependencyOutput("s", "a", other),))
    )


@given(words, schemas)
def test_memory_and_tools_count(memory, tool):
    plain = key(CALL)

    assert len({plain, key(CALL, memory=memory), key(CALL, tools=[tool]), key(CALL, memory="")}) == 4
    assert key(CALL, tools=[tool, {}]) != key(CALL, tools=[{}, tool])
