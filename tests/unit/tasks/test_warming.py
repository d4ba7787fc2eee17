"""Answers are made before anybody asks for them, by a task that holds no slot meanwhile."""

from dataclasses import replace

import pytest

from cf_workers.errors import InputError, ServerUnreachableError
from cf_workers.tasks import run_agent, runtime, warm_cache
from cf_workers.tasks.answering import Direct
from cf_workers.tasks.cached import Cached
from cf_workers.wire import RUN_AGENT

LINES = [
    '{"agent": "greeter", "task": "say hello"}',
    "",
    '{"agent": "writer", "task": "write", "max_tokens": 77}',
]


@pytest.fixture
def caching(worker):
    """The worker, with the cache before its model."""
    namespace = worker.settings.answers_namespace
    answering = Cached(Direct(worker.model), worker.cache, namespace=namespace, wake=lambda _: None)
    worker.runtime = replace(worker.runtime, answering=answering, is_cacheable=lambda step: True)
    runtime.install(lambda: worker.runtime)
    return worker


def deliver_all(worker):
    """Do what was enqueued, as a worker would."""
    found = worker.published()
    for message in found:
        args, options = message.args, message.kwargs
        with worker.delivery(run_agent, *args, id=message.id, kwargs=options):
            run_agent.run(*args, **options)
    return found


def test_every_call_is_enqueued_on_the_queue_of_work_that_can_wait(caching):
    assert warm_cache(LINES) == {"lines": 2, "known": 0, "enqueued": 2}

    messages = caching.published()
    assert {(message.task, message.queue) for message in messages} == {(RUN_AGENT, "batch")}
    assert [message.args for message in messages] == [("greeter", "say hello"), ("writer", "write")]
    assert [message.kwargs for message in messages] == [{}, {"max_tokens": 77}]
    assert caching.model.asked == []


def test_a_second_warm_makes_no_call(caching):
    warm_cache(LINES)
    deliver_all(caching)

    assert warm_cache(LINES) == {"lines": 2, "known": 2, "enqueued": 0}
    assert caching.published() == []
    assert len(caching.model.asked) == 2


def test_a_line_that_differs_in_an_option_is_another_call(caching):
    warm_cache(LINES)
    deliver_all(caching)

    assert warm_cache([LINES[2].replace("77", "78")])["enqueued"] == 1
    caching.published()


def test_to_look_whether_an_answer_is_known_does_not_use_it(caching):
    warm_cache(LINES)
    deliver_all(caching)
    before = caching.cache.stats()

    warm_cache(LINES)

    assert before.stores == 2
    assert caching.cache.stats() == before


def test_lines_may_stand_in_a_file_of_the_project(caching, tmp_path):
    (tmp_path / "warm").mkdir()
    (tmp_path / "warm" / "calls.jsonl").write_text("\n".join(LINES))

    assert warm_cache("warm/calls.jsonl")["enqueued"] == 2
    caching.published()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("../outside.jsonl", "leads out of the project"),
        ("/etc/hostname", "leads out of the project"),
        ("missing.jsonl", "cannot read"),
        ([LINES[0], "{", "[]", '{"agent": "greeter"}', '{"agent": "nobody", "task": "x"}'], "2, 3, 4, 5"),
        (['{"agent": "greeter", "task": " "}'], "1 lines cannot be used"),
        (['{"agent": "greeter", "task": "x", "cacheable": false}'], "1 lines cannot be used"),
        (['{"agent": "greeter", "task": "x", "colour": 1}'], "1 lines cannot be used"),
        (["", " "], "there is no call in it"),
        (7, "not int"),
        ([7], "not list"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_enqueued(caching, source, says):
    with pytest.raises(InputError, match=says):
        warm_cache(source)
    assert caching.published() == []


def test_a_cache_that_cannot_be_asked_is_an_error_and_not_a_reason_to_call(caching, monkeypatch):
    monkeypatch.setattr(caching.cache.entries._client.connection_pool, "get_connection", _unreachable)

    with pytest.raises(ServerUnreachableError):
        warm_cache(LINES)
    assert caching.published() == []


def test_lines_are_shown_in_neither_logs_nor_events(caching):
    warm_cache.apply_async((LINES,))

    (message,) = caching.published()
    assert message.headers["argsrepr"] == "(…)"


def _unreachable(*_):
    import redis

    raise redis.ConnectionError("gone")
