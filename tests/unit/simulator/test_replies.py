"""What does the stand-in answer?"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.simulator.ask import Ask
from cf_workers.simulator.prompt_cache import tokens_in
from cf_workers.simulator.replies import compose


def asked(task: str = "Review this diff", **fields: Any) -> Ask:
    body = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 1000,
        "system": [{"type": "text", "text": "# Code Reviewer\n\nYou review code."}],
        "messages": [{"role": "user", "content": task}],
    }
    return Ask(body | fields)


def text_of(ask: Ask, **options: Any) -> str:
    return "".join(block["text"] for block in compose(ask, **options).content if block["type"] == "text")


def test_equal_requests_get_equal_replies_whether_streamed_or_not():
    assert text_of(asked()) == text_of(asked()) == text_of(asked(stream=True))


@pytest.mark.parametrize(
    "other",
    [asked("Review that diff"), asked(model="claude-opus-5-5"), asked(system="# Code Reviewer\n\nBe brief.")],
    ids=["task", "model", "definition"],
)
def test_different_requests_get_different_replies(other):
    assert text_of(asked()) != text_of(other)


def test_a_reply_names_the_agent_and_the_task_and_says_that_it_is_simulated():
    text = text_of(asked("Review this diff\nline two"))

    assert "Code Reviewer" in text
    assert "Review this diff" in text
    assert "simulated" in text.casefold()
    assert 3 <= len([line for line in text.splitlines() if line]) <= 8


def test_the_task_is_what_stands_between_task_tags_where_there_are_any():
    text = text_of(asked("<outputs>old news</outputs>\n<task>\nSum it up\n</task>"))

    assert "Sum it up" in text
    assert "old news" not in text


def test_a_reply_never_repeats_a_directive():
    assert "[[sim" not in text_of(asked("Go [[sim latency=3 fail=529]]"))


@given(max_tokens=st.integers(1, 400), length=st.none() | st.integers(1, 400))
def test_a_reply_is_never_longer_than_max_tokens_and_counts_what_it_says(max_tokens, length):
    reply = compose(asked(max_tokens=max_tokens), length)

    assert reply.output_tokens == tokens_in(reply.content[0]["text"]) <= max_tokens


def test_a_reply_cut_by_max_tokens_says_so():
    assert compose(asked(max_tokens=5)).stop_reason == "max_tokens"
    assert compose(asked()).stop_reason == "end_turn"


def test_a_reply_has_the_length_that_was_asked_for():
    assert compose(asked(), 300).output_tokens == 300


def test_max_tokens_zero_only_warms_the_cache():
    reply = compose(asked(max_tokens=0))

    assert (reply.content, reply.output_tokens) == ((), 0)


def test_a_stop_sequence_ends_the_reply_before_itself():
    reply = compose(asked(stop_sequences=["- Next"]))

    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "- Next")
    assert "- Next" not in reply.content[0]["text"]


@pytest.mark.parametrize("shape", ["refusal", "pause_turn", "max_tokens"])
def test_a_reply_ends_for_the_reason_that_was_scripted(shape):
    assert compose(asked(), shape=shape).stop_reason == shape


def test_a_refusal_says_of_which_kind_it_is():
    reply = compose(asked(), shape="refusal")

    assert reply.content == ()
    assert reply.stop_details == {
        "type": "refusal",
        "category": "general_harms",
        "explanation": "Simulated refusal.",
    }


def test_thinking_comes_before_the_text():
    kinds = [block["type"] for block in compose(asked(), shape="thinking").content]

    assert kinds == ["thinking", "text"]


def test_a_demanded_schema_is_obeyed():
    schema = {
        "type": "object",
        "properties": {
            "verdict": {"enum": ["accept", "reject"]},
            "findings": {"type": "array", "items": {"$ref": "#/$defs/Finding"}},
            "score": {"type": "integer", "minimum": 3},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
        "$defs": {"Finding": {"type": "object", "properties": {"text": {"type": "string"}}}},
    }

    text = text_of(asked(output_config={"format": {"type": "json_schema", "schema": schema}}))

    value = json.loads(text)
    assert value["verdict"] == "accept"
    assert value["score"] == 3
    assert value["note"] is None
    assert "Simulated" in value["findings"][0]["text"]


def test_a_schema_that_refers_to_itself_still_gets_a_reply():
    schema = {"$defs": {"Tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}}}}

    text = text_of(
        asked(output_config={"format": {"type": "json_schema", "schema": schema | {"$ref": "#/$defs/Tree"}}})
    )

    assert "child" in json.loads(text)
