"""Producers, workers and a process that calls by itself keep and find answers by the same rules."""

from __future__ import annotations

import logging
from dataclasses import replace

import fakeredis
import pytest
import redis

from cf_workers._redis import Keys
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, Usage
from cf_workers.answers import (
    Answer,
    KnownAnswers,
    answer_of,
    call_for,
    entry_of,
    execution_key,
    is_cacheable,
    key_of,
    known_answers,
    open_cache,
    succeeded,
)
from cf_workers.application import Context
from cf_workers.cache import Cache, CachePolicy, GivenSecret, Hit
from cf_workers.errors import ConfigError
from cf_workers.planning import ExecutionOptions, plan_execution
from cf_workers.settings import load_settings
from tests.support.engine import FakeServer, step
from tests.support.projects import make_project, write_project

NOWHERE = "redis://127.0.0.1:1/0"
AGENT = AgentDefinition(name="reviewer", text="You review.")
CALL = AgentCall(AGENT, "Review this.", "claude-haiku-4-5", 100, 30.0)
REPLY = AgentReply("Looks good.", "claude-haiku-4-5", Usage(input_tokens=1000, output_tokens=100), "end_turn")


@pytest.fixture
def cache():
    made = fakeredis.FakeRedis(server=FakeServer())
    yield Cache(made, Keys(), GivenSecret(b"a secret"), policy=CachePolicy(cooldown_seconds=60))
    made.close()


@pytest.fixture
def context(tmp_path):
    def make(settings=None, redis_url=NOWHERE, **document) -> Context:
        project = make_project(tmp_path, "greeter", "writer", **document)
        return Context(settings or load_settings(project, environ={}), project.path, redis_url)

    return make


def gone(*_):
    raise redis.ConnectionError("gone")


# what is kept


def test_what_is_kept_of_an_answer_gives_the_same_answer_again(cache):
    entry = entry_of(CALL, REPLY, workflow="review")
    cache.store("a" * 64, entry.document, tags=entry.tags, cost_nanos=entry.cost_nanos)

    found = cache.lookup("a" * 64)

    assert isinstance(found, Hit)
    answer = answer_of(found, "a" * 64)
    assert answer.reply == REPLY
    assert (answer.seconds, answer.key, answer.cached, answer.stale) == (0.0, "a" * 64, True, False)
    assert answer.saved_nanos == entry.cost_nanos == 1_500_000


def test_an_entry_is_found_by_agent_workflow_and_model():
    assert entry_of(CALL, REPLY, workflow="w").tags == {
        "agent": "reviewer",
        "workflow": "w",
        "model": "claude-haiku-4-5",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"stop_reason": "max_tokens"},
        {"stop_reason": "refusal"},
        {"stop_reason": "tool_use"},
        {"output": ""},
        {"output": " \n"},
    ],
)
def test_what_is_cut_off_refused_blank_or_has_effects_is_not_kept(change):
    assert entry_of(CALL, replace(REPLY, **change), workflow="") is None


def test_an_answer_without_a_known_price_is_kept_with_an_unknown_one():
    entry = entry_of(CALL, replace(REPLY, model="a-model-nobody-knows"), workflow="")

    assert entry.cost_nanos is None


# under which key, and whether at all


def test_another_namespace_or_endpoint_is_another_answer(context):
    here = context()
    there = context(load_settings(environ={"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}))
    ours = context(load_settings(environ={}, namespace="tenant"))

    assert len({key_of(CALL, one.settings.answers_namespace) for one in (here, there, ours)}) == 3


def test_the_key_of_an_execution_is_that_of_its_call(context):
    here = context()
    planned = plan_execution("greeter", here.project, here.settings, ExecutionOptions(max_tokens=7))
    definition = AgentDefinition.model_validate_json(planned.definitions[planned.plan.steps[0].definition])
    call = call_for(definition, planned.plan.steps[0], task="hi")

    assert call.max_tokens == 7
    assert execution_key(here, planned, "hi") == key_of(call, here.settings.answers_namespace)
    assert execution_key(here, planned, "ho") != execution_key(here, planned, "hi")


def test_an_execution_that_is_not_to_be_cached_has_no_key(context):
    here = context()
    planned = plan_execution("greeter", here.project, here.settings, ExecutionOptions(cacheable=False))

    assert execution_key(here, planned, "hi") is None


@pytest.mark.parametrize(
    ("section", "said", "kept"),
    [
        ({}, None, True),
        ({}, True, True),
        ({}, False, False),
        ({"exclude_agents": ["greeter"]}, None, False),
        ({"exclude_agents": ["greeter"]}, True, True),
        ({"exclude_agents": ["writer"]}, None, True),
        ({"enabled": False}, None, False),
        ({"enabled": False}, True, False),
    ],
)
def test_the_project_as_it_is_now_decides_then_the_step(context, section, said, kept):
    assert is_cacheable(context(cache=section), step("greeter", cacheable=said)) is kept


@pytest.mark.parametrize(("said", "kept"), [(None, True), (True, True), (False, False)])
def test_without_a_project_the_step_decides(said, kept):
    nowhere = Context(load_settings(environ={}), None, NOWHERE)

    assert is_cacheable(nowhere, step("greeter", cacheable=said)) is kept


def test_an_edit_of_the_project_counts_at_once(context, tmp_path):
    here = context()
    assert is_cacheable(here, step("greeter"))

    write_project(tmp_path, "greeter", "writer", cache={"exclude_agents": ["greeter"]})

    assert not is_cacheable(here, step("greeter"))


# what an outcome says


def test_a_call_costs_what_its_tokens_cost():
    outcome = succeeded(Answer(REPLY, 1.5), step("reviewer"), attempts=2)

    assert (outcome.cost_nanos, outcome.saved_nanos) == (1_500_000, 0)
    assert (outcome.input_tokens, outcome.output_tokens, outcome.attempts) == (1000, 100, 2)
    assert (outcome.result["cached"], outcome.result["cache_age_seconds"]) == (False, None)
    assert (outcome.result["execution_time_ms"], outcome.result["saved_cost"]) == (1500.0, None)


def test_a_hit_costs_nothing_and_says_what_it_saved():
    hit = Answer(REPLY, 0.0, 12.5, stale=True, saved_nanos=1_500_000, key="a" * 64)

    outcome = succeeded(hit, step("reviewer"), attempts=0)

    assert (outcome.cost_nanos, outcome.saved_nanos) == (0, 1_500_000)
    assert (outcome.input_tokens, outcome.output_tokens) == (0, 0)
    assert (outcome.result["cached"], outcome.result["cache_age_seconds"]) == (True, 12.5)
    assert (outcome.result["stale"], outcome.result["cache_key"]) == (True, "a" * 64)
    assert (outcome.result["saved_cost"], outcome.result["estimated_cost"]) == (0.0015, 0.0)


# who calls by itself


def test_an_answer_that_one_process_keeps_is_found_by_the_next(cache):
    first, second = (KnownAnswers(cache, namespace="n") for _ in range(2))
    assert first.find(CALL) is None

    kept = first.keep(CALL, Answer(REPLY, 1.0))

    assert kept == Answer(REPLY, 1.0, key=key_of(CALL, "n"))
    found = second.find(CALL)
    assert (found.reply, found.cached, found.key) == (REPLY, True, kept.key)
    assert KnownAnswers(cache, namespace="another").find(CALL) is None
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.stores, stats.saved_nanos) == (1, 1, 1, 1_500_000)


def test_an_answer_that_may_answer_no_other_call_is_not_kept_and_has_no_key(cache):
    known = KnownAnswers(cache, namespace="n")
    known.find(CALL)

    cut = Answer(replace(REPLY, stop_reason="max_tokens"), 1.0)

    assert known.keep(CALL, cut) == cut
    assert cache.stats().stores == 0


def test_a_server_that_is_away_is_asked_once_and_said_once(cache, monkeypatch, caplog):
    asked = []

    def away(*_):
        asked.append(1)
        gone()

    monkeypatch.setattr(cache.entries._client.connection_pool, "get_connection", away)
    known = KnownAnswers(cache, namespace="n")

    assert known.find(CALL) is None
    assert known.keep(CALL, Answer(REPLY, 1.0)) == Answer(REPLY, 1.0)
    assert len(asked) == 1
    assert caplog.text.count("cache.failed") == 1


def test_without_any_server_there_is_nothing_to_ask(context):
    assert known_answers(context(redis_url="")) is None


def test_a_server_of_its_own_is_enough(context):
    settings = load_settings(environ={}, cache_url=NOWHERE)

    assert known_answers(context(settings, redis_url="")) is not None


def test_without_the_secret_that_production_needs_there_is_no_cache_and_that_is_said(
    context, monkeypatch, caplog
):
    monkeypatch.setenv("CLAUDE_ENV", "production")
    here = context()

    with pytest.raises(ConfigError, match="CLAUDE_CACHE_SECRET"):
        open_cache(here)
    with caplog.at_level(logging.WARNING):
        assert known_answers(here) is None
    assert caplog.text.count("CLAUDE_CACHE_SECRET") == 1


def test_a_project_without_a_cache_needs_no_secret(context, monkeypatch):
    monkeypatch.setenv("CLAUDE_ENV", "production")

    cache = open_cache(context(cache={"enabled": False}))

    assert cache.policy.enabled is False
