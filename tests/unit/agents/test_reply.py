"""What did the model say, and can it be used?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.agents.definition import Usage
from cf_workers.agents.reply import Assembly, event_failure, message_of, rate_limits_of, text_of, usage_of
from cf_workers.errors import BadReplyError
from cf_workers.wire import canonical_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=10,
)


def test_writes_to_the_prompt_cache_are_told_apart_by_their_lifetime():
    usage = usage_of(
        {
            "usage": {
                "input_tokens": 1,
                "output_tokens": 2,
                "cache_creation_input_tokens": 30,
                "cache_read_input_tokens": 4,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
                "service_tier": "priority",
                "inference_geo": "us",
                "speed": "fast",
                "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
            }
        }
    )

    assert usage == Usage(
        input_tokens=1,
        output_tokens=2,
        cache_creation_input_tokens=30,
        cache_read_input_tokens=4,
        cache_creation_5m_input_tokens=10,
        cache_creation_1h_input_tokens=20,
        service_tier="priority",
        inference_geo="us",
        speed="fast",
        web_search_requests=2,
    )
    assert usage.prompt_tokens == 35


@given(json_values)
def test_a_usage_of_any_shape_counts_what_can_be_counted(value):
    usage_of({"usage": value})
    usage_of({"usage": {"input_tokens": value, "cache_creation": value, "service_tier": value}})
    usage_of({"usage": {"speed": value, "inference_geo": value, "server_tool_use": value}})
    usage_of({"usage": {"server_tool_use": {"web_search_requests": value}}})


def test_usages_add_up_field_by_field():
    total = Usage(input_tokens=1, cache_read_input_tokens=2, service_tier="standard") + Usage(
        input_tokens=10, output_tokens=5
    )

    assert total == Usage(
        input_tokens=11, output_tokens=5, cache_read_input_tokens=2, service_tier="standard"
    )


@given(json_values)
def test_a_body_is_a_message_or_a_bad_reply_and_nothing_else(value):
    for body in (value, {"content": value, "stop_reason": "end_turn"}, {"content": [], "stop_reason": value}):
        try:
            message = message_of(body)
        except BadReplyError:
            continue
        assert isinstance(text_of(message), str)


@given(st.text(max_size=50) | json_values.map(canonical_json))
def test_an_error_event_of_any_text_becomes_a_failure(text):
    assert event_failure(text, 200, {}).status == 200


def test_rate_limit_headers_lose_their_prefix_and_others_are_left_out():
    headers = {"Anthropic-RateLimit-Requests-Limit": "50", "content-type": "x", "retry-after": "1"}

    assert rate_limits_of(headers) == {"requests-limit": "50"}


def test_counts_in_a_stream_are_cumulative():
    assembly = Assembly()
    assembly.feed({"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}})
    for count in (4, 9):
        usage = {"output_tokens": count, "input_tokens": None}
        assembly.feed({"type": "message_delta", "delta": {"stop_reason": None}, "usage": usage})

    assert assembly.usage() == Usage(input_tokens=5, output_tokens=9)
    assert not assembly.complete


def test_events_before_the_start_and_of_unknown_kinds_are_passed_over():
    assembly = Assembly()
    assembly.feed({"type": "content_block_stop", "index": 7})
    assembly.feed({"type": "message_start", "message": {}})
    assembly.feed({"type": "of_the_future"})

    assert assembly.message == {"content": []}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta"},
        {"type": "content_block_stop", "index": 3},
        {"type": "content_block_start"},
    ],
)
def test_an_event_of_the_wrong_shape_is_not_swallowed(event):
    assembly = Assembly()
    assembly.feed({"type": "message_start", "message": {}})

    with pytest.raises((KeyError, IndexError, TypeError)):
        assembly.feed(event)
