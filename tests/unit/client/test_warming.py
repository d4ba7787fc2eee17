"""Lines are read as a whole, sent a few at a time, and told of in their order."""

from __future__ import annotations

import json

import pytest

from cf_workers.client.warming import warm
from cf_workers.errors import InputError
from cf_workers.warming import Line, decoded, read_texts


def line(agent="greeter", task="say hello", **rest):
    return json.dumps({"agent": agent, "task": task, **rest})


def test_a_line_says_who_is_asked_what_and_how(house):
    lines = house.client().warmer.read([line(max_tokens=7), "", "  ", line("writer", "write")])

    assert lines == [Line(1, "greeter", "say hello", {"max_tokens": 7}), Line(4, "writer", "write", {})]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("7", "is no object but int"),
        ('{"agent": "greeter"}', "needs an agent and a task"),
        ('{"agent": 7, "task": "x"}', "needs an agent and a task"),
        (line("nobody"), "nobody"),
        (line(task="  "), "the task is empty"),
        (line(colour="red"), "colour"),
        (line(max_tokens=0), "max_tokens"),
        (line(cacheable=False), "answers of agent 'greeter' are not kept"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_says_why(house, text, says):
    with pytest.raises(InputError) as raised:
        house.client().warmer.read([line(), text])

    (problem,) = raised.value.details["problems"]
    assert problem["line"] == 2
    assert says in problem["message"]


def test_all_lines_that_cannot_be_used_are_named_at_once(house):
    with pytest.raises(InputError, match=r"3 lines cannot be used: 1, 3, 4"):
        house.client().warmer.read(["{", line(), "[]", line("nobody")])


def test_a_file_without_a_call_is_refused(house):
    with pytest.raises(InputError, match="no call"):
        house.client().warmer.read(["", " "])


def test_warming_a_cache_that_is_off_is_refused(house, monkeypatch):
    with pytest.raises(InputError, match="the cache is off"):
        house.client(cache={"enabled": False}).warmer.read([line()])

    monkeypatch.setenv("CF_WORKERS_CACHE__ENABLED", "false")
    with pytest.raises(InputError, match="the cache is off"):
        house.client().warmer.read([line()])


def test_an_agent_whose_answers_are_never_kept_is_refused(house):
    client = house.client(cache={"exclude_agents": ["greeter"]})

    with pytest.raises(InputError, match="1 lines cannot be used: 1"):
        client.warmer.read([line(), line("writer")])


def test_a_file_may_begin_with_a_byte_order_mark_and_must_be_utf_8(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + line(task="grüße").encode() + b"\r\n")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")

    assert json.loads(read_texts(tmp_path / "a.jsonl")[0])["task"] == "grüße"
    for read in (lambda: read_texts(tmp_path / "b.jsonl"), lambda: decoded(b"\xff", "standard input")):
        with pytest.raises(InputError, match="not UTF-8"):
            read()
    with pytest.raises(InputError, match="cannot read"):
        read_texts(tmp_path / "missing.jsonl")


def test_an_answer_is_known_until_it_expires_or_is_changed(house):
    client = house.client()
    (call,) = client.warmer.read([line()])
    assert not client.warmer.knows(call)

    key = house.learn(client, "greeter", "say hello")
    assert client.warmer.knows(call)

    house.clock.sleep(101)
    assert not client.warmer.knows(call)

    house.learn(client, "greeter", "say hello")
    server, entries = house.cache.entries._client, house.cache.entries._shards[0].entries
    server.hset(entries, key, server.hget(entries, key)[:-1])
    assert not client.warmer.knows(call)


def test_an_edited_agent_is_another_call(house):
    client = house.client()
    (call,) = client.warmer.read([line()])
    house.learn(client, "greeter", "say hello")

    (house.folder / ".claude" / "agents" / "greeter.md").write_text("# Greeter, and now for something else")

    assert not client.warmer.knows(call)


def test_what_is_known_costs_nothing_and_is_told_in_order(house):
    client = house.client()
    calls = client.warmer.read([line(task=f"task {number}") for number in range(5)])
    for call in calls:
        house.learn(client, call.agent, call.task)
    told = []

    warm(client, calls, told.append)

    assert [one.line.number for one in told] == [1, 2, 3, 4, 5]
    assert [(one.called, one.cost_usd, one.error) for one in told] == [(False, 0.0, None)] * 5
    assert house.engine.published() == []


def test_a_line_that_cannot_be_enqueued_does_not_disturb_the_others(house):
    client = house.client()
    house.learn(client, "greeter", "say hello")
    gone = Line(1, "nobody", "x")
    told = []

    warm(client, [gone, *client.warmer.read([line()])], told.append)

    assert [(one.line.agent, one.error is None) for one in told] == [("nobody", False), ("greeter", True)]


def test_no_more_lines_are_under_way_than_allowed(house):
    """The oldest is waited for before one more is sent."""
    client = house.client()
    house.learn(client, "greeter", "known")
    sent = []
    submit = client.submit

    def watched(agent, task, **options):
        sent.append(task)
        return submit(agent, "known", **options)

    client.submit = watched
    calls = [Line(number, "greeter", f"task {number}") for number in range(6)]
    seen = []

    warm(client, calls, lambda one: seen.append((one.line.number, len(sent))), at_once=2)

    assert [number for number, _ in seen] == [0, 1, 2, 3, 4, 5]
    assert all(under_way - number <= 2 for number, under_way in seen)
    assert len(sent) == 6
