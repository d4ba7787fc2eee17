"""Settings become policies, cannot be changed, and show no address."""

import pytest

from cf_workers.errors import ConfigError
from cf_workers.settings import load_settings

SECRET = "s3cret"


def test_settings_show_no_address():
    settings = load_settings(
        environ={}, redis_url=f"redis://:{SECRET}@host", broker_url=f"amqp://gabi:{SECRET}@host"
    )

    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)


def test_settings_cannot_be_changed():
    settings = load_settings(environ={})

    with pytest.raises(ValueError, match="frozen"):
        settings.namespace = "other"


def test_settings_become_the_policies_of_the_parts_they_rule(env):
    env(
        CF_WORKERS_WORKER__LEASE_SECONDS="16",
        CF_WORKERS_WORKER__HEARTBEAT_SECONDS="4",
        CF_WORKERS_WORKER__MAX_DEATHS="5",
        CF_WORKERS_RUNS__RETENTION_SECONDS="60",
        CF_WORKERS_RUNS__ACTIVE_SECONDS="120",
        CF_WORKERS_RUNS__PATIENCE_SECONDS="7",
    )

    settings = load_settings(environ={})

    record = settings.record_policy
    assert (record.lease_seconds, record.max_deaths) == (16, 5)
    assert (record.retention_seconds, record.active_seconds) == (60, 120)
    assert (settings.liveness_policy.heartbeat_seconds, settings.liveness_policy.lease_seconds) == (4, 16)
    assert settings.reconciler_policy.patience_seconds == 7
    assert settings.dead_letter_policy.keep_seconds == 60
    assert settings.guard_policy.window.lease_seconds == 16, "a dead worker's calls and claims end together"


def test_batches_keep_within_the_limits_of_the_api(env):
    env(CF_WORKERS_BATCHES__MAX_ROWS="100001")

    with pytest.raises(ConfigError, match="BATCHES__MAX_ROWS"):
        load_settings()


def test_batch_settings_become_the_policy_of_the_batch_lane(env):
    env(CF_WORKERS_BATCHES__LINGER_SECONDS="5", CF_WORKERS_RUNS__RETENTION_SECONDS="100")

    policy = load_settings().batch_policy

    assert (policy.linger_seconds, policy.results_seconds, policy.enabled) == (5.0, 100.0, True)
