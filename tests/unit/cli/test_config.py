"""Settings are shown with where they come from, and the project file is checked and migrated."""

import json

import pytest

from cf_workers.project.schema import project_schema


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("CF_WORKERS_REDIS_URL", raising=False)
    return monkeypatch


def shown(cf, *words):
    return cf.document("config", "show", "--json", *words)["settings"]


def test_each_value_is_shown_with_where_it_comes_from(cf, environment):
    cf.declare(performance={"timeout_seconds": 30, "max_retries": 1}, features={"async_enabled": False})
    environment.setenv("CF_WORKERS_AGENTS__TIMEOUT_SECONDS", "60")
    environment.setenv("CF_WORKERS_RETRY", '{"jitter": false}')
    environment.setenv("REDIS_URL", "redis://fallback:1/0")

    settings = shown(cf)

    def source(name):
        return settings[name]["value"], settings[name]["source"], settings[name]["variable"]

    assert source("agents.timeout_seconds") == (60.0, "environment", "CF_WORKERS_AGENTS__TIMEOUT_SECONDS")
    assert source("agents.max_retries") == (1, "project file", "CF_WORKERS_AGENTS__MAX_RETRIES")
    assert source("agents.max_tokens") == (4096, "default", "CF_WORKERS_AGENTS__MAX_TOKENS")
    assert source("retry.jitter") == (False, "environment", "CF_WORKERS_RETRY")
    assert source("redis_url") == ("redis://fallback:1/0", "environment", "REDIS_URL")
    assert source("features.async_enabled") == (False, "project file", None)
    assert source("performance.async_enabled")[:2] == (False, "project file")


def test_passwords_and_keys_are_never_shown(cf, environment):
    environment.setenv("CF_WORKERS_REDIS_URL", "redis://user:geheim@host:6379/0")
    environment.setenv("CF_WORKERS_BROKER_URL", "amqp://user:geheim@host//")
    environment.setenv("ANTHROPIC_BASE_URL", "https://user:geheim@proxy/v1")
    environment.setenv("ANTHROPIC_API_KEY", "sk-ant-geheim")
    environment.setenv("CLAUDE_CACHE_SECRET", "sehr geheim")

    for words in (["config", "show"], ["config", "show", "--json"]):
        result = cf(*words)
        assert result.exit_code == 0
        assert "geheim" not in result.output
        assert "redis://host:6379/0" in result.stdout
    assert cf.document("config", "show", "--json")["secrets"] == {
        "ANTHROPIC_API_KEY": "(set)",
        "ANTHROPIC_AUTH_TOKEN": "(not set)",
        "CLAUDE_CACHE_SECRET": "(set)",
    }


def test_what_is_at_its_default_can_be_left_out(cf, environment):
    environment.setenv("CF_WORKERS_NAMESPACE", "mine")

    assert list(shown(cf, "--changed")) == ["namespace"]


def test_a_cache_that_the_project_turns_off_is_shown_as_off(cf):
    cf.declare(cache={"enabled": False})

    assert shown(cf)["cache.enabled"] == {
        "value": False,
        "source": "project file",
        "variable": "CF_WORKERS_CACHE__ENABLED",
    }


def test_without_a_project_the_settings_are_shown_all_the_same(cf):
    cf.project.unlink()

    assert cf.document("config", "show", "--json")["project"] is None


def test_nothing_of_it_starts_a_server(cf):
    for words in (["show"], ["validate"], ["migrate"], ["schema"]):
        assert cf("config", *words).exit_code == 0

    assert cf.no_server_was_started


# -- validate


def test_a_sound_project_is_told_so(cf):
    assert "4 agents, 2 workflows and all settings: no problems" in cf("config", "validate").stdout
    assert cf.document("config", "validate", "--json")["success"] is True


def test_all_problems_of_project_and_settings_are_listed_at_once(cf, environment):
    environment.setenv("CF_WORKERS_WORKER__CONCURRENCY", "many")
    cf.declare(
        cache={"ttl_hours": 0},
        agents={"gone": {"file": "agents/gone.md"}},
        workflows={"w": {"steps": [{"agent": "nobody"}]}},
    )

    result = cf("config", "validate")

    assert result.exit_code == 2
    for part in ("CF_WORKERS_WORKER__CONCURRENCY", "cache.ttl_hours", "agents/gone.md", "'nobody'"):
        assert part in result.stderr
    assert len(json.loads(cf("config", "validate", "--json").stdout)["error"]["problems"]) == 4


def test_a_retired_default_model_is_a_problem_of_the_project(cf, environment):
    environment.setenv("CF_WORKERS_AGENTS__MODEL", "claude-2.1")

    result = cf("config", "validate")

    assert result.exit_code == 2
    assert "retired" in result.stderr


def test_invalid_json_is_told_with_its_line(cf):
    cf.project.write_text('{\n  "agents": {},\n}')

    result = cf("config", "validate")

    assert result.exit_code == 2
    assert "line 3" in result.stderr


def test_a_variable_that_nothing_reads_is_a_warning_with_the_name_that_was_meant(cf, environment):
    environment.setenv("CF_WORKERS_WORKERS__CONCURRENCY", "5")
    environment.setenv("CF_WORKERS_LIMITS__WEIGHTS__TENANT", "2")

    result = cf("config", "validate")

    assert result.exit_code == 0
    assert "did you mean CF_WORKERS_WORKER__CONCURRENCY?" in result.stderr
    assert "WEIGHTS" not in result.stderr


def test_a_mistyped_field_of_a_section_is_refused_once_with_the_name_that_was_meant(cf, environment):
    environment.setenv("CF_WORKERS_WORKER__CONCURENCY", "5")

    result = cf("config", "show")

    assert result.exit_code == 2
    said = "CF_WORKERS_WORKER__CONCURENCY: is not a setting; did you mean CF_WORKERS_WORKER__CONCURRENCY?"
    assert result.stderr.count(said) == 1

    environment.setenv("CF_WORKERS_MAX_TASK_CHARS", "0")
    both = cf("config", "show").stderr
    assert "error: 2 problems:" in both
    assert both.count(said) == both.count("CF_WORKERS_MAX_TASK_CHARS") == 1


def test_the_hint_of_a_broken_project_names_a_command_that_is_there(cf):
    cf.declare(workflows={"w": ["nobody"]})

    hint = cf("run-workflow", "w", "--task", "x").stderr.split("hint: ")[1]

    assert "`cf-workers config validate`" in hint
    assert "'nobody'" in cf("config", "validate").stderr


# -- migrate


def test_migration_adds_what_is_missing_and_the_second_time_nothing(cf):
    before = cf.project.read_text()

    first = cf.document("config", "migrate", "--json")
    once = cf.project.read_bytes()
    second = cf.document("config", "migrate", "--json")

    assert len(first["changes"]) == 2
    assert second["changes"] == []
    assert cf.project.read_bytes() == once
    assert once.decode().startswith(before.rstrip().removesuffix("}").rstrip())
    assert json.loads(once)["cache"]["ttl_hours"] == 24
    assert "nothing to migrate" in cf("config", "migrate").stdout


def test_a_dry_run_writes_nothing(cf):
    before = cf.project.read_bytes()

    assert "would have added the section 'cache'" in cf("config", "migrate", "--dry-run").stdout
    assert cf.project.read_bytes() == before


# -- schema


def test_the_schema_is_printed_as_one_document(cf):
    assert cf.document("config", "schema") == cf.document("config", "schema", "--json") == project_schema()
