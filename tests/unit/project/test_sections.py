"""The optional sections have defaults, and a feature that is off wins."""

import pytest

from cf_workers.errors import ProjectError
from cf_workers.project import CacheSection, Features, PerformanceSection


def test_absent_sections_mean_the_defaults(folder):
    project = folder.load({})

    assert project.features == Features(True, True, True)
    assert project.cache == CacheSection(True, 24.0, 100.0, ())
    assert project.performance == PerformanceSection(True, None, 120.0, 3)


def test_sections_say_what_the_file_says_and_which_keys_it_decides(folder):
    project = folder.load(
        {
            "cache": {"ttl_hours": 0.5, "max_size_mb": 1.5, "exclude_agents": ["a"], "unknown": 1},
            "performance": {"max_concurrent_agents": 5, "timeout_seconds": 60, "max_retries": 0},
        }
    )

    assert (project.cache.ttl_hours, project.cache.max_size_mb) == (0.5, 1.5)
    assert project.cache.exclude_agents == ("a",)
    assert project.cache.declared == {"ttl_hours", "max_size_mb", "exclude_agents"}
    assert project.performance.max_concurrent_agents == 5
    assert (project.performance.timeout_seconds, project.performance.max_retries) == (60.0, 0)


def test_a_feature_that_is_off_wins_over_its_section(folder):
    project = folder.load(
        {
            "features": {"cache_enabled": False, "async_enabled": False, "parallel_workflows_enabled": False},
            "cache": {"enabled": True},
            "performance": {"async_enabled": True},
        }
    )

    assert project.features == Features(False, False, False)
    assert not project.cache.enabled
    assert not project.performance.async_enabled


def test_a_feature_that_is_on_leaves_its_section_alone(folder):
    project = folder.load({"features": {"cache_enabled": True}, "cache": {"enabled": False}})

    assert not project.cache.enabled


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("cache", "enabled", "false", "true or false, not a string"),
        ("cache", "ttl_hours", 0, "above 0, not 0"),
        ("cache", "max_size_mb", "1", "must be a number"),
        ("cache", "exclude_agents", "a", "must be a list"),
        ("performance", "max_concurrent_agents", 0, "at least 1, not 0"),
        ("performance", "timeout_seconds", -1, "above 0, not -1"),
        ("performance", "max_retries", 1.5, "whole number, not 1.5"),
        ("features", "cache_enabled", 0, "true or false, not a number"),
    ],
)
def test_a_bad_value_is_never_replaced_by_a_guess(folder, section, key, value, message):
    project = folder.load({section: {key: value}})

    (problem,) = project.problems
    assert problem.place == f"{section}.{key}"
    assert message in problem.message
    with pytest.raises(ProjectError, match=message):
        getattr(project, section)
