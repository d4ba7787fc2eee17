"""What a call may take at most is never less than what it takes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from cf_workers.agents.definition import AgentCall, AgentDefinition, DependencyOutput, Usage
from cf_workers.agents.estimate import bound_nanos, is_priced, most_input_tokens, most_nanos
from cf_workers.agents.prices import cost_nanos
from cf_workers.agents.prompt import build_request

texts = st.text(max_size=60)
calls = st.builds(
    lambda text, contract, task, outputs, schema: AgentCall(
        agent=AgentDefinition(name="a", text=text, contract=contract, output_schema=schema, effort="high"),
        task=task,
        model="claude-haiku-4-5",
        max_tokens=100,
        timeout_seconds=5,
        outputs=tuple(DependencyOutput(*output) for output in outputs),
    ),
    texts,
    st.none() | texts,
    texts,
    st.lists(st.tuples(texts, texts, texts), max_size=4),
    st.none() | st.dictionaries(texts, texts, max_size=3),
)


@given(calls)
def test_a_request_has_no_more_bytes_of_text_than_it_is_given_tokens(call):
    def strings(value):
        if isinstance(value, str):
            return len(value.encode())
        if isinstance(value, dict):
            return sum(len(key.encode()) + strings(each) for key, each in value.items())
        return sum(map(strings, value)) if isinstance(value, list) else len(json.dumps(value))

    assert strings(build_request(call)) <= most_input_tokens(call)


@given(
    st.sampled_from(["claude-haiku-4-5", "claude-haiku-5-5", "claude-opus-5-5", "claude-mythos-5"]),
    st.integers(0, 250_000),
    st.integers(0, 250_000),
    st.integers(0, 50_000),
)
def test_no_split_of_the_input_costs_more_than_the_bound(model, fresh, written, read):
    usage = Usage(
        input_tokens=fresh,
        cache_creation_input_tokens=written,
        cache_creation_5m_input_tokens=written,
        cache_read_input_tokens=read,
        output_tokens=10,
    )

    assert cost_nanos(model, usage) <= bound_nanos(model, fresh + written + read, 10)


def test_keeping_the_prompt_for_an_hour_is_dearer():
    assert bound_nanos("claude-haiku-4-5", 1000, 0, cache_ttl="1h") == 2_000_000
    assert bound_nanos("claude-haiku-4-5", 1000, 0) == 1_250_000


def test_the_most_that_a_call_may_cost_counts_the_longest_answer():
    call = AgentCall(AgentDefinition(name="a", text=""), "", "claude-haiku-4-5", 1_000, 5)

    assert most_nanos(call) == most_input_tokens(call) * 1250 + 1000 * 5000


def test_a_model_whose_price_is_not_known_has_no_bound():
    assert not is_priced("my-own-model")
    assert is_priced("claude-sonnet-5-5")
