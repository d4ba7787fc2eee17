"""When does a worker take up its duties, what does it say meanwhile, and when does it lay them down?"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import signals
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as PreforkPool

from cf_workers.application import default_context
from cf_workers.celery.duties import Duties
from cf_workers.celery.listening import note_queues
from cf_workers.provenance import unknown_variables
from cf_workers.reliability import attach
from cf_workers.tasks import runtime
from cf_workers.tasks.app import app
from cf_workers.tasks.withdrawing import withdraw

log = logging.getLogger(__name__)

_duties: dict[int, Duties] = {}


@signals.celeryd_after_setup.connect(weak=False)
def _note_queues(instance: Any, **_: Any) -> None:
    if instance.app is app:
        note_queues(app.amqp.queues.consume_from, int(instance.concurrency or 0))
        if duties := _duties.get(os.getpid()):
            duties.runtime.heartbeat.beat()  # the first one was before the queues were known


@signals.worker_init.connect(weak=False)
def _begin(sender: Any, **_: Any) -> None:
    """Make the process ready before it says so; the children of prefork begin for themselves."""
    if sender.app is not app:
        return
    attach(app, default_context().settings.reliability_policy)
    if not _forks(sender.pool_cls):
        _duties[os.getpid()] = Duties.begin()


@signals.worker_ready.connect(weak=False)
def _announce(sender: Any, **_: Any) -> None:
    """Nothing is logged before Celery has set logging up."""
    duties = _duties.get(os.getpid())
    if sender.app is app and duties is not None and duties.probes is not None:
        duties.probes.announce()


@signals.worker_ready.connect(weak=False)
def _name_unknown_variables(sender: Any, **_: Any) -> None:
    """A mistyped variable is silently without effect."""
    if sender.app is app:
        for name, meant in unknown_variables():
            log.warning("variable.unknown name=%s meant=%s", name, meant or "?")


@signals.worker_ready.connect(weak=False)
def _say_ready(sender: Any, **_: Any) -> None:
    """Celery says so at the level INFO; a worker at its default level says it as well."""
    if sender.app is app and not logging.getLogger("celery.apps.worker").isEnabledFor(logging.INFO):
        print(f"{sender.hostname} ready.", flush=True)  # noqa: T201


@signals.worker_process_init.connect(weak=False)
def _begin_in_child(**_: Any) -> None:
    _duties[os.getpid()] = Duties.begin(in_child=True)


@signals.task_revoked.connect(weak=False)
def _withdraw(sender: Any, request: Any, terminated: bool, **_: Any) -> None:
    """A task that runs hears of its revocation itself."""
    if sender.app is app and not terminated:
        withdraw(runtime.current(), sender.name, request.id, request.args or ())


@signals.worker_shutdown.connect(weak=False)
@signals.worker_process_shutdown.connect(weak=False)
def _end(**_: Any) -> None:
    if duties := _duties.pop(os.getpid(), None):
        duties.end()


def _forks(pool: Any) -> bool:
    return issubclass(get_implementation(pool), PreforkPool)
