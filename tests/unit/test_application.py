"""A process decides once which project, settings and server it works with."""

import pytest

from cf_workers import application
from cf_workers.application import open_context
from cf_workers.errors import ConfigError, UnknownAgentError
from cf_workers.wire import BATCH, CONTROL, EXECUTE_STEP, FINISH_RUN, INTERACTIVE, RUN_AGENT, WARM_CACHE
from tests.support.projects import write_project


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A working directory and a home without a project, and a server that is configured."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CF_WORKERS_REDIS_URL", "redis://configured:1/0")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_a_worker_needs_no_project():
    """Runs bring their definitions along."""
    context = open_context()

    assert context.project_path is None
    assert (context.redis_url, context.embedded) == ("redis://configured:1/0", None)
    with pytest.raises(ConfigError, match="no project"):
        _ = context.project


def test_a_project_that_appears_later_asks_for_a_new_start(nowhere):
    context = open_context()
    write_project(nowhere / "work", "a")

    with pytest.raises(ConfigError, match="was not there at the start") as caught:
        _ = context.project
    assert caught.value.hint == "start again"


def test_the_project_of_the_working_directory_comes_before_the_users(nowhere):
    users = write_project(nowhere / "home", "a")
    assert open_context().project_path == users

    own = write_project(nowhere / "work", "a")
    assert open_context().project_path.samefile(own)


def test_a_named_project_comes_before_all_others(nowhere, monkeypatch):
    write_project(nowhere / "work", "a")
    by_variable = write_project(nowhere / "elsewhere", "b")
    by_argument = write_project(nowhere / "somewhere", "c")
    monkeypatch.setenv("CF_WORKERS_CONFIG", str(by_variable))

    assert open_context().project.agent_names == ("b",)
    assert open_context(config=by_argument).project.agent_names == ("c",)


def test_a_named_project_that_is_not_there_is_an_error(nowhere, monkeypatch):
    with pytest.raises(ConfigError, match=r"nothing\.json"):
        open_context(config=nowhere / "nothing.json")

    monkeypatch.setenv("CF_WORKERS_CONFIG", str(nowhere / "nothing.json"))
    with pytest.raises(ConfigError, match=r"nothing\.json"):
        open_context()


def test_a_broken_project_stops_only_who_uses_it(nowhere):
    file = write_project(nowhere / "work", "a")
    file.write_text("{ broken")

    context = open_context()

    assert context.settings.agents.max_retries == 3
    with pytest.raises(ConfigError):
        _ = context.project


def test_edits_of_the_project_are_seen(nowhere):
    write_project(nowhere / "work", "a")
    context = open_context()
    with pytest.raises(UnknownAgentError):
        context.project.agent("b")

    write_project(nowhere / "work", "a", "b", name="edited")

    assert context.project.agent("b").name == "b"


@pytest.mark.parametrize(
    ("variables", "redis_url", "broker_url"),
    [
        ({}, "redis://configured:1/0", "redis://configured:1/0"),
        ({"CELERY_BROKER_URL": "amqp://usual"}, "redis://configured:1/0", "amqp://usual"),
        (
            {"CELERY_BROKER_URL": "amqp://usual", "CF_WORKERS_BROKER_URL": "amqp://ours"},
            "redis://configured:1/0",
            "amqp://ours",
        ),
        ({"CF_WORKERS_REDIS_URL": "", "REDIS_URL": "redis://usual"}, "redis://usual", "redis://usual"),
    ],
)
def test_the_server_and_the_broker_are_found(monkeypatch, variables, redis_url, broker_url):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    context = open_context()

    assert (context.redis_url, context.broker_url) == (redis_url, broker_url)
    assert context.celery["broker_read_url"] == context.celery["broker_write_url"] == broker_url
    assert context.celery["result_backend"] == redis_url


def test_an_address_that_was_given_beats_the_configured_one():
    assert open_context(redis_url="redis://given").redis_url == "redis://given"


def test_without_an_address_no_server_is_started_for_who_needs_none(monkeypatch):
    monkeypatch.delenv("CF_WORKERS_REDIS_URL")

    context = open_context(need_server=False)

    assert (context.redis_url, context.embedded) == ("", None)
    context.close()


def test_celery_retries_as_the_settings_say(monkeypatch):
    monkeypatch.setenv("CF_WORKERS_AGENTS__MAX_RETRIES", "7")
    monkeypatch.setenv("CF_WORKERS_RETRY__BACKOFF_SECONDS", "0.25")
    monkeypatch.setenv("CF_WORKERS_RETRY__JITTER", "false")

    annotations = open_context().celery["task_annotations"]

    assert annotations[RUN_AGENT] == annotations[EXECUTE_STEP]
    assert annotations[RUN_AGENT] == {
        "max_retries": 7,
        "retry_backoff": 0.25,
        "retry_backoff_max": 60.0,
        "retry_jitter": False,
    }


def test_ends_of_runs_go_through_the_queue_of_their_own():
    routes = open_context().celery["task_routes"]

    assert (routes[FINISH_RUN]["queue"], routes[RUN_AGENT]["queue"]) == (CONTROL, INTERACTIVE)


def test_warming_waits_where_work_can_wait():
    assert open_context().celery["task_routes"][WARM_CACHE] == {"queue": BATCH}


def test_results_live_as_long_as_records_and_joins_as_long_as_runs(monkeypatch):
    monkeypatch.setenv("CF_WORKERS_RUNS__RETENTION_SECONDS", "100")
    monkeypatch.setenv("CF_WORKERS_RUNS__ACTIVE_SECONDS", "1000")

    found = open_context().celery

    assert (found["result_expires"], found["result_chord_expires"]) == (100, 1000)


def test_celery_finds_its_configuration_by_name(monkeypatch):
    application.default_context.cache_clear()
    try:
        assert application.configuration["result_backend"] == "redis://configured:1/0"
    finally:
        application.default_context.cache_clear()


def test_the_module_has_nothing_else_under_a_made_up_name():
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = application.nothing_of_that_name


def test_namespaces_that_share_a_server_do_not_share_messages(monkeypatch):
    alone = open_context().celery["broker_transport_options"]
    monkeypatch.setenv("CF_WORKERS_NAMESPACE", "blue")

    assert "global_keyprefix" not in alone
    assert open_context().celery["broker_transport_options"]["global_keyprefix"] == "blue:"
