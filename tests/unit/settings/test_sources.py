"""A flag beats the environment, that the project file, that the default; and no value is told in an error."""

import pytest

from cf_workers.agents.models import DEFAULT_MODEL
from cf_workers.errors import ConfigError
from cf_workers.settings import load_settings
from tests.support.projects import make_project

SECRET = "s3cret"


def test_the_defaults_are_the_documented_ones():
    settings = load_settings(environ={})

    assert (settings.redis_url, settings.broker_url, settings.namespace) == (None, None, "cfw")
    assert settings.agents.model == DEFAULT_MODEL
    assert (settings.agents.max_tokens, settings.agents.max_retries) == (4096, 3)
    assert (settings.retry.backoff_seconds, settings.retry.backoff_max_seconds) == (1.0, 60.0)
    assert settings.retry.jitter
    assert settings.worker.concurrency == 100


def test_the_project_file_beats_the_defaults(tmp_path):
    project = make_project(tmp_path, performance={"timeout_seconds": 33, "max_retries": 1})

    agents = load_settings(project, environ={}).agents

    assert (agents.timeout_seconds, agents.max_retries, agents.max_tokens) == (33, 1, 4096)


def test_the_environment_beats_the_project_file_value_by_value(tmp_path, env):
    env(CF_WORKERS_AGENTS__TIMEOUT_SECONDS="44", CF_WORKERS_AGENTS__MODEL="claude-opus-5")
    project = make_project(tmp_path, performance={"timeout_seconds": 33, "max_retries": 1})

    agents = load_settings(project, environ={}).agents

    assert (agents.timeout_seconds, agents.max_retries, agents.model) == (44, 1, "claude-opus-5")


def test_a_flag_beats_everything(env):
    env(CF_WORKERS_REDIS_URL="redis://from-environment")

    found = load_settings(environ={"REDIS_URL": "redis://fall-back"}, redis_url="redis://from-flag")

    assert found.redis_url == "redis://from-flag"


def test_a_flag_that_was_not_given_changes_nothing(env):
    env(CF_WORKERS_REDIS_URL="redis://from-environment")

    assert load_settings(environ={}, redis_url=None).redis_url == "redis://from-environment"


def test_the_usual_variables_are_fall_backs(env):
    usual = {"REDIS_URL": "redis://usual", "CELERY_BROKER_URL": "amqp://usual"}

    found = load_settings(environ=usual)
    assert (found.redis_url, found.broker_url) == ("redis://usual", "amqp://usual")

    env(CF_WORKERS_REDIS_URL="redis://ours", CF_WORKERS_BROKER_URL="amqp://ours")
    found = load_settings(environ=usual)
    assert (found.redis_url, found.broker_url) == ("redis://ours", "amqp://ours")


def test_an_empty_variable_counts_as_not_set(env):
    env(CF_WORKERS_REDIS_URL="", CF_WORKERS_WORKER__CONCURRENCY="")

    found = load_settings(environ={"REDIS_URL": ""})

    assert (found.redis_url, found.worker.concurrency) == (None, 100)


def test_all_values_that_cannot_be_used_are_named_at_once(env):
    env(
        CF_WORKERS_WORKER__CONCURRENCY="0",
        CF_WORKERS_AGENTS__MAX_RETRIES="many",
        CF_WORKERS_NAMESPACE="a b",
        CF_WORKERS_RETRY__BACKOF="1",
    )

    with pytest.raises(ConfigError) as caught:
        load_settings(environ={})

    for name in (
        "CF_WORKERS_WORKER__CONCURRENCY: Input should be greater than or equal to 1",
        "CF_WORKERS_AGENTS__MAX_RETRIES",
        "CF_WORKERS_NAMESPACE",
        "CF_WORKERS_RETRY__BACKOF",
    ):
        assert name in caught.value.message
    assert len(caught.value.details["problems"]) == 4
    assert caught.value.hint


@pytest.mark.parametrize(
    "url", [f"gabi:{SECRET}@host", f"http://gabi:{SECRET}@host", f"valkey://:{SECRET}@host:6379/0", SECRET]
)
def test_an_address_that_is_none_of_a_redis_server_is_refused_without_telling_it(env, url):
    env(CF_WORKERS_REDIS_URL=url)

    with pytest.raises(ConfigError, match=r"CF_WORKERS_REDIS_URL: .*redis://localhost:6379/0") as caught:
        load_settings(environ={})

    assert "Value error" not in caught.value.message
    assert SECRET not in f"{caught.value!r} {caught.value.details} {caught.value.__cause__}"


@pytest.mark.parametrize("url", ["redis://h", "rediss://h:1/2", "unix:///run/redis.sock"])
def test_every_address_that_redis_py_knows_is_accepted(url):
    assert load_settings(environ={}, redis_url=url).redis_url == url


def test_the_broker_may_be_any_that_celery_knows(env):
    env(CF_WORKERS_BROKER_URL="amqp://gabi@mq//")
    assert load_settings(environ={}).broker_url == "amqp://gabi@mq//"

    env(CF_WORKERS_BROKER_URL=SECRET)
    with pytest.raises(ConfigError, match="CF_WORKERS_BROKER_URL") as caught:
        load_settings(environ={})
    assert SECRET not in str(caught.value)


def test_a_variable_that_is_no_json_is_named_without_its_value(env):
    env(CF_WORKERS_AGENTS=f"not json {SECRET}")

    with pytest.raises(ConfigError, match="agents") as caught:
        load_settings(environ={})

    assert SECRET not in f"{caught.value!r} {caught.value.details}"
