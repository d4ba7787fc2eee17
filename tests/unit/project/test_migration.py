"""Migration adds what is missing and touches nothing else."""

import copy
import json

import pytest

from cf_workers.errors import ConfigError
from cf_workers.project import migrate

OLD = {"version": "1.0.0", "workflows": {"w": ["a"]}, "agents": {"a": {"file": "a.md"}}, "x": 1}


def test_missing_sections_are_added_at_the_end_with_their_defaults():
    before = copy.deepcopy(OLD)

    new, changes = migrate(OLD)

    assert list(new) == ["version", "workflows", "agents", "x", "cache", "performance"]
    assert json.dumps(new["cache"]) == (
        '{"enabled": true, "ttl_hours": 24, "max_size_mb": 100, "exclude_agents": []}'
    )
    assert (
        json.dumps(new["performance"]) == '{"async_enabled": true, "timeout_seconds": 120, "max_retries": 3}'
    )
    assert {key: new[key] for key in OLD} == before == OLD
    assert len(changes) == 2


def test_the_second_time_nothing_changes():
    once, _ = migrate(OLD)

    assert migrate(once) == (once, [])


def test_a_section_that_is_there_stays_as_it_is():
    new, changes = migrate({"cache": {"enabled": False}, "performance": None})

    assert new == {"cache": {"enabled": False}, "performance": None}
    assert changes == []


def test_a_migrated_project_means_the_same_as_before(folder):
    old, new = folder.load(OLD), folder.load(migrate(OLD)[0])

    assert new.cache.ttl_hours == old.cache.ttl_hours
    assert new.performance.timeout_seconds == old.performance.timeout_seconds
    assert new.performance.max_concurrent_agents is None


def test_what_is_not_a_project_is_refused():
    with pytest.raises(ConfigError, match="not a list"):
        migrate([])
