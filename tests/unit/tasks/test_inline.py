from pathlib import Path

import fakeredis
import pytest
import redis

from cf_workers._redis import Keys
from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentReply, Usage
from cf_workers.answers import KnownAnswers
from cf_workers.cache import Cache, GivenSecret
from cf_workers.client import Client
from cf_workers.errors import CallRejectedError, CancelledError, OverloadedError, RateLimitedError
from cf_workers.planning import ExecutionOptions, Planned
from cf_workers.resilience.backoff import BackoffPolicy
from cf_workers.tasks.inline import InlinePolicy, execute_inline, wait_in_thread

REPLY = AgentReply("hello", "claude-sonnet-5-5", Usage(input_tokens=10, output_tokens=5), "end_turn", "req_1")
STEADY = BackoffPolicy(base_seconds=1.0, cap_seconds=60.0, jitter=False)


class ScriptedModel:
    """Answers as told, one word of the script a call."""

    def __init__(self, *script: AgentReply | Exception) -> None:
        self.script = list(script)
        self.asked: list[AgentCall] = []

    def warm(self) -> None: ...

    def close(self) -> None: ...

    def ask(self, call: AgentCall, token: CancelToken | None = None) -> AgentReply:
        if token is not None and token.cancelled:
            raise CancelledError("cancelled")
        self.asked.append(call)
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    (tmp_path / "greeter.md").write_text("Greet.")
    project = tmp_path / "claude.json"
    project.write_text('{"agents": {"greeter": {"file": "greeter.md"}}}')
    return Client(project).check_execution("greeter", "say hello", ExecutionOptions(max_tokens=77))


def overloaded() -> OverloadedError:
    return OverloadedError("overloaded", {"status": 529})


def test_an_answer_is_the_document_of_an_execution(planned):
    model = ScriptedModel(REPLY)

    document = execute_inline(planned, "say hello", model=model)

    assert document["success"] is True
    assert document["agent_name"] == "greeter"
    assert document["output"] == "hello"
    assert document["errors"] == []
    assert document["metadata"]["tokens_used"] == 15
    assert document["metadata"]["attempts"] == 1
    assert document["metadata"]["estimated_cost"] > 0
    assert document["metadata"]["execution_id"]
    assert (model.asked[0].task, model.asked[0].max_tokens) == ("say hello", 77)
    assert model.asked[0].agent.text == "Greet."


def test_a_failure_that_may_pass_is_asked_again_after_a_growing_wait(planned):
    waits: list[float] = []
    model = ScriptedModel(overloaded(), overloaded(), REPLY)

    document = execute_inline(
        planned,
        "x",
        model=model,
        wait=lambda seconds, _: waits.append(seconds),
        policy=InlinePolicy(3, STEADY),
    )

    assert waits == [1.0, 2.0]
    assert document["success"] is True
    assert document["metadata"]["attempts"] == 3


def test_the_provider_s_own_wait_is_a_lower_bound(planned):
    waits: list[float] = []
    model = ScriptedModel(RateLimitedError("slow down", {"retry_after": 7.0}), REPLY)

    execute_inline(
        planned,
        "x",
        model=model,
        wait=lambda seconds, _: waits.append(seconds),
        policy=InlinePolicy(3, STEADY),
    )

    assert waits == [8.0]


def test_three_retries_mean_four_requests_and_no_more(planned):
    told: list[int] = []
    model = ScriptedModel(*(overloaded() for _ in range(9)))

    document = execute_inline(
        planned,
        "x",
        model=model,
        wait=lambda _seconds, _token: None,
        retrying=lambda attempt, _seconds, _error: told.append(attempt),
        policy=InlinePolicy(3, STEADY),
    )

    assert len(model.asked) == 4
    assert told == [1, 2, 3]
    assert document["success"] is False
    assert document["errors"] == ["overloaded"]
    assert document["metadata"]["error"]["type"] == "OverloadedError"


def test_a_failure_that_stays_is_asked_once(planned):
    model = ScriptedModel(CallRejectedError("too odd", {"status": 400}))

    document = execute_inline(planned, "x", model=model)

    assert len(model.asked) == 1
    assert document["status"] == "failed"


def test_a_cancelled_wait_ends_at_once_and_asks_no_more(planned):
    token = CancelToken()
    model = ScriptedModel(RateLimitedError("slow down", {"retry_after": 600.0}), REPLY)

    document = execute_inline(
        planned, "x", model=model, token=token, retrying=lambda *_: token.cancel("enough")
    )

    assert len(model.asked) == 1
    assert document["status"] == "cancelled"


def test_a_wait_is_as_long_as_asked_for_unless_cancelled():
    token = CancelToken()
    wait_in_thread(0.01, token)
    token.cancel()
    wait_in_thread(600.0, token)


@pytest.fixture
def cache():
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    yield Cache(client, Keys(), GivenSecret(b"a secret"))
    client.close()


def known_by(cache: Cache) -> KnownAnswers:
    """What another process of the same fleet would know."""
    return KnownAnswers(cache, namespace="n")


def test_what_is_known_is_not_asked_again(planned, cache):
    first, second = ScriptedModel(REPLY), ScriptedModel()

    made = execute_inline(planned, "say hello", model=first, known=known_by(cache))
    found = execute_inline(planned, "say hello", model=second, known=known_by(cache))

    assert (len(first.asked), len(second.asked)) == (1, 0)
    assert found["output"] == made["output"] == "hello"
    assert (made["metadata"]["cached"], found["metadata"]["cached"]) == (False, True)
    assert made["metadata"]["cache_key"] == found["metadata"]["cache_key"]
    assert (found["metadata"]["estimated_cost"], found["metadata"]["attempts"]) == (0.0, 0)
    assert found["metadata"]["saved_cost"] == pytest.approx(made["metadata"]["estimated_cost"])


def test_another_task_is_asked(planned, cache):
    model = ScriptedModel(REPLY, REPLY)

    for task in ("say hello", "say hello!"):
        execute_inline(planned, task, model=model, known=known_by(cache))

    assert len(model.asked) == 2


def test_a_failure_is_not_kept(planned, cache):
    model = ScriptedModel(CallRejectedError("too odd", {"status": 400}), REPLY)

    first = execute_inline(planned, "x", model=model, known=known_by(cache))
    second = execute_inline(planned, "x", model=model, known=known_by(cache))

    assert (first["success"], second["success"]) == (False, True)
    assert len(model.asked) == 2


def test_a_cache_whose_server_is_away_changes_nothing(planned, cache, monkeypatch):
    def gone(*_):
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(cache.entries._client.connection_pool, "get_connection", gone)

    document = execute_inline(planned, "say hello", model=ScriptedModel(REPLY), known=known_by(cache))

    assert (document["success"], document["output"]) == (True, "hello")
    assert (document["metadata"]["cached"], document["metadata"]["cache_key"]) == (False, None)
