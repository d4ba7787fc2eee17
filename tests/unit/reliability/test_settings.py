from __future__ import annotations

import pytest
from celery import Celery

from cf_workers.reliability import reliable_configuration
from cf_workers.reliability.policy import ReliabilityPolicy, attach, policy_of

REDIS = "redis://127.0.0.1:1/0"


def configured(**options):
    app = Celery("app", set_as_current=False)
    app.conf.update(reliable_configuration(**({"redis_url": REDIS} | options)))
    return app.conf


def test_every_setting_is_one_that_celery_knows():
    known = set(Celery("plain", set_as_current=False).conf)
    read_without_a_default = {"result_backend_thread_safe", "redis_backend_health_check_interval"}

    assert set(reliable_configuration(redis_url=REDIS)) <= known | read_without_a_default


def test_the_settings_that_are_known_to_break_workers_are_off():
    conf = configured()

    assert conf.worker_eta_task_limit is None
    assert conf.worker_deduplicate_successful_tasks is False
    assert conf.task_acks_late is True


def test_one_backend_a_process_has_a_connection_for_each_thread():
    conf = configured(concurrency=300)

    assert conf.result_backend_thread_safe is True
    assert conf.redis_max_connections == 350
    assert conf.worker_concurrency == 300


def test_each_queue_has_a_routing_key_of_its_own():
    conf = configured(queues=["control", "interactive", "batch"])

    assert [queue.name for queue in conf.task_queues] == ["control", "interactive", "batch"]
    assert len({queue.routing_key for queue in conf.task_queues}) == 3
    assert conf.task_default_queue == "batch"
    assert conf.task_create_missing_queues is False


def test_the_default_queue_can_be_named():
    assert configured(queues=["a", "b"], default_queue="a").task_default_queue == "a"


@pytest.mark.parametrize(
    ("options", "text"),
    [({"queues": []}, "at least one"), ({"queues": ["a"], "default_queue": "b"}, "'b' is not among")],
)
def test_queues_that_cannot_work_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        reliable_configuration(redis_url=REDIS, **options)


def test_a_broker_of_another_kind_gets_no_redis_options():
    conf = configured(broker_url="amqp://example.test//")

    assert conf.broker_url == "amqp://example.test//"
    assert conf.result_backend == REDIS
    assert conf.broker_transport_options == {}
    assert not conf.worker_disable_prefetch
    assert not conf.control_queue_exclusive


def test_an_app_without_a_policy_has_the_defaults():
    app = Celery("app", set_as_current=False)
    assert policy_of(app) == ReliabilityPolicy()

    attach(app, ReliabilityPolicy(requeue_delay=9))

    assert policy_of(app).requeue_delay == 9
