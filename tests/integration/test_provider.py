"""Asking Claude: the real SDK over real HTTP, against the stand-in."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, DependencyOutput
from cf_workers.agents.prompt import build_request
from cf_workers.agents.provider import AnthropicProvider, ProviderPolicy
from cf_workers.errors import (
    BadReplyError,
    CancelledError,
    CfWorkersError,
    CredentialsError,
    OverloadedError,
    RefusedError,
    StreamCutError,
)
from cf_workers.simulator import Fault, ScriptedFault, Simulator, SimulatorConfig, SimulatorControl
from tests.support.raw_api import RawApi, end_of_message, events_of, message, start_of_message
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

STREAMED = 30_000


@pytest.fixture(scope="module")
def simulator():
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def api(simulator):
    simulator.reset()
    return simulator


@pytest.fixture
def provider(api):
    provider = AnthropicProvider(ProviderPolicy(base_url=api.url, api_key="sk-ant-test"))
    yield provider
    provider.close()


def call(task="Say hello.", *, max_tokens=256, timeout=10.0, outputs=(), **settings) -> AgentCall:
    return AgentCall(
        agent=AgentDefinition(name="greeter", text="You are the greeter.", contract="Be kind.", **settings),
        task=task,
        model="claude-haiku-4-5",
        max_tokens=max_tokens,
        timeout_seconds=timeout,
        outputs=tuple(DependencyOutput(step, "other", text) for step, text in outputs),
    )


def asked_raw(script, the_call=None, **policy):
    """Ask a raw API once."""
    with RawApi(script) as raw:
        provider = AnthropicProvider(ProviderPolicy(base_url=raw.url, api_key="sk-ant-test", **policy))
        try:
            return provider.ask(the_call or call())
        finally:
            provider.close()


def answers(*bodies):
    """A script that gives these answers, one after another."""

    def script(connection):
        for body in bodies:
            if connection.request() is None:
                return
            connection.answer(200, body)
        connection.until_the_client_leaves()

    return script


def streams(*events):
    """A script that streams these events as one whole reply."""

    def script(connection):
        connection.request()
        connection.begin_stream()
        for event in events:
            connection.event(event)
        connection.end_stream()
        connection.until_the_client_leaves()

    return script


@pytest.mark.parametrize("max_tokens", [256, STREAMED], ids=["whole", "streamed"])
def test_an_answer_comes_back_with_its_usage_and_request_id(provider, max_tokens):
    reply = provider.ask(call(max_tokens=max_tokens))

    assert reply.output
    assert reply.stop_reason == "end_turn"
    assert not reply.truncated
    assert reply.model == "claude-haiku-4-5"
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0
    assert reply.request_id.startswith("req_")


@pytest.mark.parametrize(("max_tokens", "streamed"), [(21_333, False), (21_334, True)])
def test_only_a_call_that_may_take_more_than_ten_minutes_is_streamed(provider, api, max_tokens, streamed):
    provider.ask(call(max_tokens=max_tokens))

    assert [record.stream for record in api.requests()] == [streamed]


def test_what_is_sent_is_what_the_prompt_builder_returned(provider, api):
    the_call = call("Review.", outputs=[("lint", "2 warnings")], effort=None)

    provider.ask(the_call)

    [record] = SimulatorControl(api.url).requests(bodies=True)
    assert json.loads(record.body) == build_request(the_call)


def test_the_sdk_itself_never_retries(provider, api):
    api.set_faults(*[Fault(status=529)] * 3)

    with pytest.raises(CfWorkersError):
        provider.ask(call())

    assert len(api.requests()) == 1


def test_a_connection_is_used_again():
    with RawApi(answers(*[message()] * 5)) as raw:
        provider = AnthropicProvider(ProviderPolicy(base_url=raw.url, api_key="k"))
        for _ in range(5):
            provider.ask(call())
        provider.close()

        assert raw.connections == 1


def test_a_prompt_cache_write_and_the_read_after_it_are_told_apart(provider):
    long_text = "Rules of the house. " * 2000
    the_call = dataclasses.replace(call(), agent=AgentDefinition(name="greeter", text=long_text))

    first, second = provider.ask(the_call), provider.ask(the_call)

    assert first.usage.cache_creation_5m_input_tokens == first.usage.cache_creation_input_tokens > 4000
    assert second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens


def test_the_prompt_cache_lifetime_follows_the_policy(api):
    provider = AnthropicProvider(ProviderPolicy(base_url=api.url, api_key="k", cache_ttl="1h"))
    long_text = "Other rules of the house. " * 2000

    reply = provider.ask(dataclasses.replace(call(), agent=AgentDefinition(name="greeter", text=long_text)))
    provider.close()

    assert reply.usage.cache_creation_1h_input_tokens > 4000
    assert reply.usage.cache_creation_5m_input_tokens == 0


def test_rate_limit_headers_come_with_the_reply():
    with Simulator(SimulatorConfig(requests_per_minute=1000)) as limited:
        provider = AnthropicProvider(ProviderPolicy(base_url=limited.url, api_key="k"))
        reply = provider.ask(call())
        provider.close()

    assert reply.rate_limits["requests-limit"] == "1000"
    assert int(reply.rate_limits["requests-remaining"]) < 1000


@pytest.mark.parametrize("max_tokens", [256, STREAMED], ids=["whole", "streamed"])
def test_thinking_before_the_text_is_not_part_of_the_output(provider, api, max_tokens):
    plain = provider.ask(call(max_tokens=max_tokens)).output
    api.set_faults("thinking")

    reply = provider.ask(call(max_tokens=max_tokens))

    assert reply.output
    assert "thinking" not in reply.output.casefold() or "thinking" in plain.casefold()


def test_text_blocks_are_joined_whatever_stands_between_them():
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "one "},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "of_the_future", "text": "no"},
        {"type": "text", "text": "two"},
    ]

    assert asked_raw(answers(message(content=content))).output == "one two"


def test_a_stream_gives_the_same_reply_as_a_whole_answer():
    blocks = [
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            [{"type": "thinking_delta", "thinking": "hm"}],
        ),
        (
            {"type": "text", "text": ""},
            [{"type": "text_delta", "text": "one "}, {"type": "text_delta", "text": "two"}],
        ),
    ]
    events = [start_of_message(), {"type": "ping"}, *events_of(blocks), *end_of_message(input_tokens=11)]

    reply = asked_raw(streams(*events), call(max_tokens=STREAMED))

    assert (reply.output, reply.stop_reason) == ("one two", "end_turn")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (11, 7)
    assert reply.request_id == "req_raw"


@pytest.mark.parametrize("stop_reason", ["max_tokens", "model_context_window_exceeded"])
def test_a_reply_that_had_to_stop_is_marked_truncated(stop_reason):
    reply = asked_raw(answers(message("half", stop_reason=stop_reason)))

    assert reply.truncated
    assert reply.output == "half"


@pytest.mark.parametrize("max_tokens", [256, STREAMED], ids=["whole", "streamed"])
def test_a_paused_reply_is_sent_back_as_it_is_and_continued(provider, api, max_tokens):
    api.set_faults("pause_turn")

    reply = provider.ask(call(max_tokens=max_tokens))

    first, second = SimulatorControl(api.url).requests(bodies=True)
    continued = json.loads(second.body)["messages"]
    assert continued[0] == json.loads(first.body)["messages"][0]
    assert continued[1]["role"] == "assistant"
    assert reply.stop_reason == "end_turn"
    assert reply.usage.input_tokens == first.usage["input_tokens"] + second.usage["input_tokens"]
    assert reply.usage.output_tokens == first.usage["output_tokens"] + second.usage["output_tokens"]


def test_the_content_sent_back_keeps_thinking_blocks_unchanged():
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "server_tool_use", "id": "t1", "name": "web_search", "input": {"query": "x"}},
        {"type": "text", "text": "so far; "},
    ]
    sent = []

    def script(connection):
        for body in (message(content=content, stop_reason="pause_turn"), message("done")):
            sent.append(json.loads(connection.request()[1]))
            connection.answer(200, body)

    reply = asked_raw(script)

    assert sent[1]["messages"][1] == {"role": "assistant", "content": content}
    assert reply.output == "so far; done"


def test_a_streamed_reply_that_pauses_is_put_together_exactly_before_it_is_sent_back():
    tool = {"type": "server_tool_use", "id": "t1", "name": "web_search", "input": {}}
    blocks = [
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            [{"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "sig"}],
        ),
        (
            tool,
            [
                {"type": "input_json_delta", "partial_json": '{"query": '},
                {"type": "input_json_delta", "partial_json": '"x"}'},
            ],
        ),
        (
            {"type": "text", "text": ""},
            [{"type": "citations_delta", "citation": {"n": 1}}, {"type": "text_delta", "text": "a"}],
        ),
    ]
    sent = []

    def script(connection):
        for events in ([*events_of(blocks), *end_of_message("pause_turn")], end_of_message()):
            sent.append(json.loads(connection.request()[1]))
            connection.begin_stream()
            for event in (start_of_message(), *events):
                connection.event(event)
            connection.end_stream()

    asked_raw(script, call(max_tokens=STREAMED))

    assert sent[1]["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {**tool, "input": {"query": "x"}},
        {"type": "text", "text": "a", "citations": [{"n": 1}]},
    ]


def test_a_reply_that_never_stops_pausing_is_given_up_and_its_cost_is_told():
    with pytest.raises(BadReplyError, match="paused its turn 3 times") as caught:
        asked_raw(answers(*[message(stop_reason="pause_turn")] * 9), max_turns=3)

    assert caught.value.details["usage"]["output_tokens"] == 3 * 7


def test_a_refusal_names_its_category_and_what_it_cost(provider, api):
    api.set_faults("refusal")

    with pytest.raises(RefusedError) as caught:
        provider.ask(call())

    assert caught.value.details["category"]
    assert caught.value.details["usage"]["input_tokens"] > 0
    assert caught.value.request_id


def test_a_tool_that_nobody_offered_makes_a_bad_reply():
    tool = {"type": "tool_use", "id": "t", "name": "rm", "input": {}}

    with pytest.raises(BadReplyError) as caught:
        asked_raw(answers(message(content=[tool], stop_reason="tool_use")))

    assert caught.value.details["kind"] == "unexpected_tool_use"
    assert caught.value.details["usage"]["output_tokens"] == 7


SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


def test_json_for_an_output_schema_is_handed_on_as_text():
    assert asked_raw(answers(message('{"ok": true}')), call(output_schema=SCHEMA)).output == '{"ok": true}'


def test_text_that_is_not_the_json_of_the_schema_is_a_bad_reply():
    with pytest.raises(BadReplyError) as caught:
        asked_raw(answers(message("Sure! Here it is")), call(output_schema=SCHEMA))

    assert caught.value.details["truncated"] is False
    assert "Sure" not in str(caught.value)


def test_truncation_is_named_as_the_reason_why_the_json_is_broken():
    with pytest.raises(BadReplyError, match="truncated") as caught:
        asked_raw(answers(message('{"ok": tr', stop_reason="max_tokens")), call(output_schema=SCHEMA))

    assert caught.value.details["truncated"] is True
    assert "max_tokens" in caught.value.hint
    assert caught.value.details["usage"]["output_tokens"] == 7


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Welcome</html>",
        b"[]",
        b"null",
        b'{"type": "message"}',
        b'{"content": [1], "stop_reason": "x"}',
        b"",
    ],
)
def test_an_answer_that_is_no_message_is_a_bad_reply_whatever_it_is(body):
    with pytest.raises(BadReplyError) as caught:
        asked_raw(answers(body))

    assert "ANTHROPIC_BASE_URL" in caught.value.hint
    assert "Welcome" not in str(caught.value)


@pytest.mark.parametrize("events", [[], [start_of_message()]], ids=["nothing at all", "only the start"])
def test_a_stream_that_ends_before_the_model_said_why_it_stopped_was_cut(events):
    with pytest.raises(StreamCutError):
        asked_raw(streams(*events), call(max_tokens=STREAMED))


def test_a_cut_stream_tells_what_was_billed_up_to_then():
    with pytest.raises(StreamCutError) as caught:
        asked_raw(streams(start_of_message()), call(max_tokens=STREAMED))

    assert caught.value.details["usage"]["input_tokens"] == 11
    assert caught.value.request_id == "req_raw"


def test_events_of_the_wrong_shape_make_an_unreadable_reply():
    with pytest.raises(BadReplyError) as caught:
        asked_raw(streams(start_of_message(), {"type": "content_block_delta"}), call(max_tokens=STREAMED))

    assert caught.value.details["kind"] == "unreadable"


def test_without_any_key_the_first_call_says_where_one_is_looked_for(api, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    provider = AnthropicProvider(ProviderPolicy(base_url=api.url))

    with pytest.raises(CredentialsError) as caught:
        provider.ask(call())
    provider.close()

    assert "ANTHROPIC_API_KEY" in caught.value.hint
    assert api.requests() == []


def test_a_profile_that_cannot_be_loaded_is_said_to_be_the_problem(api, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    provider = AnthropicProvider(ProviderPolicy(base_url=api.url))

    with pytest.raises(CredentialsError) as caught:
        provider.ask(call())

    assert "ANTHROPIC_PROFILE" in caught.value.hint


def test_key_and_address_come_from_the_environment_unless_handed_in(api, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-from-the-environment")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
    provider = AnthropicProvider()

    reply = provider.ask(call())
    provider.close()

    assert reply.output


def test_the_policy_does_not_show_its_key():
    assert "sk-ant" not in repr(ProviderPolicy(api_key="sk-ant-secret"))


LOGGING = """
import logging, sys
from cf_workers.agents.definition import AgentCall, AgentDefinition
from cf_workers.agents.provider import AnthropicProvider, ProviderPolicy

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
provider = AnthropicProvider(ProviderPolicy(base_url=sys.argv[1], api_key="sk-ant-SECRETKEY"))
agent = AgentDefinition(name="a", text="SECRETDEFINITION")
provider.ask(AgentCall(agent, "SECRETTASK", "claude-haiku-4-5", 64, 10.0))
logging.getLogger().debug("the end")
"""


def test_a_worker_at_log_level_debug_logs_no_prompt_and_no_key(api):
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, api.url], capture_output=True, text=True, timeout=60, check=True
    )

    assert "the end" in done.stdout
    assert "SECRET" not in done.stdout + done.stderr


@pytest.mark.parametrize("max_tokens", [256, STREAMED], ids=["whole", "streamed"])
def test_an_error_status_means_the_same_whether_streamed_or_not(provider, api, max_tokens):
    api.set_faults("529")

    with pytest.raises(OverloadedError):
        provider.ask(call(max_tokens=max_tokens))


def test_after_closing_a_provider_works_again(provider):
    provider.ask(call())
    provider.close()

    assert provider.ask(call()).output


@pytest.mark.parametrize(("threads", "clients"), [(1, 1), (100, 1), (101, 4), (300, 5), (1000, 8)])
def test_clients_are_sharded_above_a_hundred_threads(threads, clients):
    assert ProviderPolicy(threads=threads).clients == clients


def test_threads_spread_evenly_over_the_shards(api):
    provider = AnthropicProvider(ProviderPolicy(base_url=api.url, api_key="k", threads=200, shards=4))
    provider.warm()
    used = Counter()
    together = threading.Barrier(16)

    def look(_):
        together.wait(timeout=10)
        used[id(provider._client())] += 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(look, range(16)))
    provider.close()

    assert sorted(used.values()) == [4, 4, 4, 4]


FORK = """
import os, sys
from cf_workers.agents.definition import AgentCall, AgentDefinition
from cf_workers.agents.provider import AnthropicProvider, ProviderPolicy

provider = AnthropicProvider(ProviderPolicy(base_url=sys.argv[1], api_key="k"))
agent = AgentDefinition(name="a", text="You are a.")
call = AgentCall(agent, "t", "claude-haiku-4-5", 64, float(sys.argv[2]))
provider.ask(call)
clients = provider._clients
child = os.fork()
if child == 0:
    fresh = provider._clients == []
    try:
        provider.ask(call)
        os._exit(0 if fresh and provider._clients[0] is not clients[0] else 3)
    except BaseException as error:
        print(type(error).__name__, error, file=sys.stderr, flush=True)
        os._exit(4)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert provider.ask(call).output
sys.exit(status)
"""


def test_a_forked_child_makes_clients_of_its_own_and_the_parent_keeps_working(api):
    done = subprocess.run(
        [sys.executable, "-c", FORK, api.url, "10"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr


def test_a_forked_child_has_a_watchdog_of_its_own(api):
    api.set_faults(ScriptedFault(Fault(kind="hang"), skip=1))

    done = subprocess.run(
        [sys.executable, "-c", FORK, api.url, "0.5"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 4, done.stderr
    assert "CallTimeoutError" in done.stderr


def test_importing_the_provider_does_not_load_the_sdk():
    heavy = "{'anthropic', 'httpx2', 'httpcore2'}"
    code = f"import sys, cf_workers.agents.provider; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"


def test_a_hundred_threads_with_cancellations_lose_no_call_and_leak_no_socket(api):
    """Each thread asks several times; a third of the calls are cancelled while they wait."""
    api.configure(latency=0.05)
    threads, rounds = 100, 4
    provider = AnthropicProvider(ProviderPolicy(base_url=api.url, api_key="k", threads=threads))
    provider.warm()
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def work(number):
        for turn in range(rounds):
            token = CancelToken()
            cancel = (number + turn) % 3 == 0
            timer = threading.Timer(0.02, token.cancel, ("stress",)) if cancel else None
            if timer:
                timer.start()
            try:
                reply = provider.ask(call(f"task {number}-{turn}", timeout=30), token)
                outcome = "reply" if isinstance(reply, AgentReply) else "?"
            except CancelledError:
                outcome = "cancelled"
            except CfWorkersError as error:
                outcome = type(error).__name__
            if timer:
                timer.join()
            with lock:
                outcomes[outcome, cancel] += 1

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))

    uncancelled = sum(1 for n in range(threads) for turn in range(rounds) if (n + turn) % 3)
    assert outcomes["reply", False] == uncancelled
    assert {outcome for outcome, cancelled in outcomes if cancelled} <= {"cancelled", "reply"}
    assert outcomes["cancelled", True] > 0
    connections = [c for client in provider._clients for c in pools_of(client)]
    assert 0 < len(connections) <= threads
    assert all(connection.is_idle() for connection in connections)
    provider.close()
    eventually(lambda: api.stats().in_flight == 0, "the stand-in to see that every client has left")


def pools_of(client):
    """The connections a client keeps."""
    return [
        connection for pool in client._client._transport._pools.values() for connection in pool.connections
    ]
