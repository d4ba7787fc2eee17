"""Which Celery settings make at-least-once delivery hold, and why?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kombu.entity import Exchange, Queue

DAY = 86400


def reliable_configuration(
    *,
    redis_url: str,
    broker_url: str | None = None,
    concurrency: int = 100,
    queues: Sequence[str] = ("celery",),
    default_queue: str | None = None,
    visibility_timeout: float = 60,
    chord_expires: float = 7 * DAY,
) -> dict[str, Any]:
    """The settings block for `app.conf.update`.

    Args:
        redis_url: results, and the broker unless one is named.
        broker_url: the broker, if it is another server.
        concurrency: tasks at once in one worker.
        queues: names in the order in which a worker serves them; a full one starves those behind it.
        default_queue: for tasks without a route; the last one unless named.
        visibility_timeout: seconds after which a dead worker's messages run elsewhere.
        chord_expires: longer than the longest run, or its joins never fire.
    """
    broker = broker_url or redis_url
    return {
        **_delivery(),
        **_broker(broker, visibility_timeout),
        **_results(redis_url, concurrency, chord_expires),
        **_queues(queues, default_queue),
        **_operation(concurrency),
    }


def _delivery() -> dict[str, Any]:
    return {
        "task_acks_late": True,  # a killed worker must not lose what was paid for
        "task_acks_on_failure": True,  # failures are committed by the task; the broker does not loop them
        "task_acks_on_timeout": True,
        "task_reject_on_worker_lost": False,  # an unbounded loop
        "task_retry_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,  # long tasks: no hoarding
        "worker_disable_prefetch": True,  # also bounds what is taken in after a reconnect
        "worker_eta_task_limit": None,  # any limit shrinks the worker for good: decrements are not capped
        "worker_deduplicate_successful_tasks": False,  # its fast path skips chord parts
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # they keep their leases and finish
        # on Redis the gate on reserved requests does it; elsewhere threads of tasks would speak on the event
        # loop's connection, and break it
        "worker_enable_prefetch_count_reduction": False,
    }


def _broker(url: str, visibility_timeout: float) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "broker_url": url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker waits for its broker for as long as it takes
        "broker_connection_timeout": 4,  # part of how long a chord's claim lasts
        "broker_pool_limit": 32,  # publishers inside the task threads
        "task_publish_retry": True,
        "task_publish_retry_policy": {  # a retry that cannot be published is a failure, so try for a while
            "max_retries": 5,
            "interval_start": 0.2,
            "interval_step": 0.5,
            "interval_max": 2,
        },
    }
    if url.startswith(("redis://", "rediss://")):
        return {**settings, "broker_transport_options": _redis_transport(visibility_timeout)}
    return {**settings, **_without_redis()}


def _redis_transport(visibility_timeout: float) -> dict[str, Any]:
    return {
        "visibility_timeout": visibility_timeout,  # kept alive by the lease heartbeat
        "unacked_restore_interval": max(1, visibility_timeout / 12),  # default: a sweep each 100 s
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,  # a sweeper that died blocks the others so long, not 5 minutes
        "priority_steps": [0],  # queues, not priorities: a step outranks any order of queues
        "queue_order_strategy": "priority",  # the order in which queues are named
        "socket_timeout": 30,  # half-open connections end
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,  # a dead peer shows after 21 s instead of 51
        "client_name": "cf-workers",
    }


def _without_redis() -> dict[str, Any]:
    """What differs on RabbitMQ, which knows by itself which of its consumers live.

    Publishing stays unconfirmed. With `confirm_publish` threads were seen to wait for confirmations on a
    connection of the event loop, once; why was not established. What is lost is noticed and published again.
    """
    return {
        "worker_disable_prefetch": False,  # works on Redis alone, and warns elsewhere
        # an exclusive queue is locked until the broker has noticed that its connection broke; a worker that
        # comes back before that, or has the name of another, ends with RESOURCE_LOCKED
        "control_queue_exclusive": False,
        "control_queue_durable": True,  # RabbitMQ gives up transient queues that are not exclusive
    }


def _results(url: str, concurrency: int, chord_expires: float) -> dict[str, Any]:
    return {
        "result_backend": url,
        "result_backend_thread_safe": True,  # one backend a process, not one a thread
        "redis_max_connections": concurrency + 50,  # redis-py's cap is 100, and meeting it is an error
        "redis_socket_timeout": 10,
        "redis_socket_connect_timeout": 5,
        "redis_socket_keepalive": True,
        "redis_retry_on_timeout": True,
        "redis_backend_health_check_interval": 25,
        "result_backend_always_retry": True,
        "result_backend_max_retries": 10,  # the default would block a thread for ever
        "result_expires": DAY,
        "result_chord_expires": chord_expires,
        "task_track_started": False,
        "result_extended": False,  # arguments stay out of the results
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_accept_content": ["json"],
    }


def _queues(names: Sequence[str], default: str | None) -> dict[str, Any]:
    if not names:
        raise ValueError("queues is empty: name at least one queue")
    chosen = default or names[-1]
    if chosen not in names:
        raise ValueError(f"default_queue {chosen!r} is not among the queues {list(names)}")
    return {
        # with the default routing key on each, a publish by exchange would reach all of them
        "task_queues": [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in names],
        "task_default_queue": chosen,
        "task_default_exchange": chosen,
        "task_default_routing_key": chosen,
        "task_create_missing_queues": False,  # a mistyped queue is an error, not a queue nobody reads
    }


def _operation(concurrency: int) -> dict[str, Any]:
    return {
        "worker_pool": "cf_workers.reliability.pool:TaskPool",  # also what Celery starts for -P prefork
        "worker_concurrency": concurrency,
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "timezone": "UTC",
        "enable_utc": True,
    }
