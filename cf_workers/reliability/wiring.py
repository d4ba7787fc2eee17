"""How does an app get all the repairs?"""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.concurrency.thread import TaskPool as CeleryThreadPool

from cf_workers.reliability.policy import ReliabilityPolicy, attach
from cf_workers.reliability.queues import note_time

AMQP = "cf_workers.reliability.connection:AMQP"
POOL = "cf_workers.reliability.pool:TaskPool"
DRAIN = "cf_workers.reliability.bootsteps:Drain"
LEASE = "cf_workers.reliability.bootsteps:Lease"
ACKS = "cf_workers.reliability.bootsteps:Acks"
LANES = "cf_workers.reliability.bootsteps:Lanes"
HEARTBEAT = "cf_workers.reliability.bootsteps:Heartbeat"
EVENT_FLUSH = "cf_workers.reliability.bootsteps:EventFlush"

_CELERY_THREADS = ("threads", "celery.concurrency.thread:TaskPool", CeleryThreadPool)


def install(app: Any, policy: ReliabilityPolicy | None = None) -> None:
    """Switch the repairs on for every worker and producer of this app. Call it before the app connects.

    Everything goes through seams that Celery offers: the app's messaging class, bootsteps by name, and the
    `worker_init` signal, which comes before the pool's class is looked up, so that `-P threads` means our
    threads for this app and nothing changes for another. `-P processes` stays Celery's prefork.
    """
    attach(app, policy or ReliabilityPolicy())
    app.amqp_cls = AMQP
    app.__dict__.pop("amqp", None)
    app.steps["worker"].add(DRAIN)
    app.steps["consumer"].update({LEASE, LANES, ACKS, HEARTBEAT, EVENT_FLUSH})

    def choose_pool(sender: Any, **_: Any) -> None:
        if sender.app is app and sender.pool_cls in _CELERY_THREADS:
            sender.pool_cls = POOL

    def check_versions(instance: Any, **_: Any) -> None:
        if instance.app is app:
            from cf_workers.reliability.versions import warn_unsupported

            warn_unsupported()

    signals.before_task_publish.connect(_note_time, weak=False, dispatch_uid=f"{__name__}.sent_at")
    signals.worker_init.connect(choose_pool, weak=False, dispatch_uid=f"{__name__}.pool.{id(app)}")
    signals.celeryd_after_setup.connect(
        check_versions, weak=False, dispatch_uid=f"{__name__}.versions.{id(app)}"
    )


def _note_time(headers: Any = None, **_: Any) -> None:
    note_time(headers)
