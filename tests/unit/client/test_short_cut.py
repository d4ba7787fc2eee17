"""A known answer is given by the producer itself, and nobody can tell by anything but the time it took."""

import pytest
import redis

from cf_workers.errors import ConfigError, UnknownRunError
from cf_workers.wire import RUN_AGENT


def enqueued(house):
    return [message.task for message in house.engine.published()]


def test_a_known_answer_takes_no_worker(house):
    client = house.client()
    key = house.learn(client, "greeter", "say hello")
    house.clock.sleep(7)

    handle = client.submit("greeter", "say hello")

    assert enqueued(house) == []
    result = handle.result(timeout=5)
    assert result.output == "hello"
    metadata = result.metadata
    assert (metadata["cached"], metadata["cache_age_seconds"], metadata["cache_key"]) == (True, 7.0, key)
    assert (metadata["estimated_cost"], metadata["stale"], metadata["attempts"]) == (0.0, False, 0)
    assert metadata["saved_cost"] == pytest.approx((1000 * 1 + 100 * 5) / 1e6)


def test_it_counts_as_an_execution_that_used_no_tokens(house):
    client = house.client()
    house.learn(client, "greeter", "say hello")

    handle = client.submit("greeter", "say hello")

    (listed,) = client.history.newest(limit=5)
    assert (listed["run_id"], listed["status"]) == (handle.id, "succeeded")
    record = house.engine.client.hgetall(house.engine.keys.run(handle.id).run)
    spent = [record.get(name, "0") for name in ("input_tokens", "output_tokens", "cost_nanos", "lost_calls")]
    assert spent == ["0", "0", "0", "0"]
    assert int(record["saved_nanos"]) == 1_500_000


def test_its_id_is_an_ordinary_celery_result(house):
    client = house.client()
    house.learn(client, "greeter", "say hello")

    handle = client.submit("greeter", "say hello")

    stored = house.engine.app.AsyncResult(handle.id)
    assert stored.status == "SUCCESS"
    assert stored.result["output"] == "hello"


@pytest.mark.parametrize(
    ("agent", "task", "options"),
    [
        ("writer", "say hello", {}),
        ("greeter", "say hello!", {}),
        ("greeter", "say hello", {"max_tokens": 7}),
        ("greeter", "say hello", {"model": "claude-haiku-4-5"}),
        ("greeter", "say hello", {"cacheable": False}),
    ],
)
def test_any_other_call_is_left_to_a_worker(house, agent, task, options):
    client = house.client()
    house.learn(client, "greeter", "say hello")

    client.submit(agent, task, **options)

    assert enqueued(house) == [RUN_AGENT]


def test_a_time_out_or_a_number_of_retries_makes_no_other_call(house):
    client = house.client()
    house.learn(client, "greeter", "say hello")

    client.submit("greeter", "say hello", timeout_seconds=3, max_retries=9)

    assert enqueued(house) == []


def test_an_answer_past_its_time_is_left_to_a_worker(house):
    client = house.client()
    house.learn(client, "greeter", "say hello")
    house.clock.sleep(101)

    client.submit("greeter", "say hello")

    assert enqueued(house) == [RUN_AGENT]


@pytest.mark.parametrize(
    "cache", [{"enabled": False}, {"exclude_agents": ["greeter"]}], ids=["off", "excluded"]
)
def test_the_project_as_it_is_now_may_say_no(house, cache):
    house.learn(house.client(), "greeter", "say hello")

    house.client(cache=cache).submit("greeter", "say hello")

    assert enqueued(house) == [RUN_AGENT]


def test_it_can_be_turned_off_alone(house, monkeypatch):
    house.learn(house.client(), "greeter", "say hello")
    monkeypatch.setenv("CF_WORKERS_CACHE__SHORT_CUT", "false")
    client = house.client()

    client.submit("greeter", "say hello")

    assert enqueued(house) == [RUN_AGENT]
    assert client.recall("greeter", "say hello") is None


def test_a_look_in_vain_counts_nothing_because_the_worker_looks_again(house):
    client = house.client()

    client.submit("greeter", "say hello")

    assert enqueued(house) == [RUN_AGENT]
    assert (house.cache.stats().hits, house.cache.stats().misses) == (0, 0)


def test_a_cache_without_its_secret_leaves_the_work_to_workers(house, monkeypatch, caplog):
    def refuse():
        raise ConfigError("CLAUDE_CACHE_SECRET is not set")

    monkeypatch.setattr(house, "open_cache", refuse)

    house.client().submit("greeter", "say hello")

    assert enqueued(house) == [RUN_AGENT]
    assert "CLAUDE_CACHE_SECRET is not set" in caplog.text


def test_a_cache_whose_server_fails_leaves_the_work_to_workers(house, monkeypatch):
    client = house.client()
    house.learn(client, "greeter", "say hello")

    def gone(*_):
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(house.cache.entries._client.connection_pool, "get_connection", gone)

    client.submit("greeter", "say hello")

    assert enqueued(house) == [RUN_AGENT]


def test_an_entry_that_was_tampered_with_is_left_to_a_worker(house):
    client = house.client()
    key = house.learn(client, "greeter", "say hello")
    server, entries = house.cache.entries._client, house.cache.entries._shards[0].entries
    server.hset(entries, key, server.hget(entries, key).replace(b"hello", b"jello"))

    client.submit("greeter", "say hello")

    assert enqueued(house) == [RUN_AGENT]
    assert house.cache.stats().integrity_failures == 1


def test_to_recall_is_to_execute_what_is_known_and_nothing_else(house):
    client = house.client()
    house.learn(client, "greeter", "say hello")

    known = client.recall("greeter", "say hello")

    assert known is not None
    assert known.result(timeout=5).output == "hello"
    assert client.recall("greeter", "say something else") is None
    assert len(list(client.history.newest(limit=5))) == 1
    assert enqueued(house) == []


def test_a_repeated_idempotency_key_is_the_first_execution(house):
    client = house.client()
    first = client.submit("greeter", "say hello", idempotency_key="once")
    house.learn(client, "greeter", "say hello")

    second = client.submit("greeter", "say hello", idempotency_key="once")

    assert second.id == first.id
    assert first.status() != "succeeded"
    assert enqueued(house) == [RUN_AGENT]


def test_an_execution_that_was_taken_on_meanwhile_is_left_alone(house, monkeypatch):
    """A worker may have found the record before the producer ended it."""
    client = house.client()
    house.learn(client, "greeter", "say hello")
    short_cut, conclude = client._short_cut, client._short_cut.conclude

    def after_a_worker(new, answer):
        header = house.engine.store.header(new.run, 1)
        claim = house.engine.store.claim(header, header.plan.steps[0], "a worker", may_take_over=False)
        assert claim.verdict == "run"
        return conclude(new, answer)

    monkeypatch.setattr(short_cut, "conclude", after_a_worker)

    handle = client.submit("greeter", "say hello")

    assert handle.status() == "running"
    assert enqueued(house) == []


def test_input_that_cannot_work_is_refused_whatever_is_known(house):
    client = house.client()

    with pytest.raises(Exception, match="nobody"):
        client.submit("nobody", "say hello")
    with pytest.raises(UnknownRunError):
        client.execution("unknown").status()
