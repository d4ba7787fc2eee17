"""Where in Celery's life cycle do the repairs hook in?"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from types import MethodType
from typing import Any

from celery import signals
from celery.apps.worker import on_cold_shutdown
from celery.bootsteps import StartStopStep
from celery.worker import state

from cf_workers.reliability.beating import HeartbeatFile, LeaseBeat
from cf_workers.reliability.cancellation import draining
from cf_workers.reliability.ledger import ledger
from cf_workers.reliability.policy import policy_of
from cf_workers.reliability.slots import Slots, note_slots
from cf_workers.reliability.transport import Channel

log = logging.getLogger(__name__)

EVENTS_EVERY = 0.1
"""Seconds between two batches of task events."""


class Lease(StartStopStep):
    """Consumer step: the lease heartbeat, across reconnects and until the last message is settled."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self.lease: LeaseBeat | None = None

    def start(self, consumer: Any) -> None:
        channel = consumer.task_consumer.channel
        if not isinstance(channel, Channel):
            return  # a broker that knows by itself which of its consumers live
        if self.lease is not None:
            self.lease.channel = channel
            return
        self.lease = LeaseBeat(channel)
        self.lease.start()

    def shutdown(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """The drain is over; the channel closes next and gives everything back."""
        if self.lease is not None:
            self.lease.stop()


class Lanes(StartStopStep):
    """Consumer step: queues leave slots to those before them. Needs a broker that is asked for each message.

    Takes the place of Celery's own gate, which counts slots without regard to queues, and to which tasks that
    were kept until they are due do not come at all. Whether there are slots to spare is known on any broker.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        channel = consumer.task_consumer.channel
        spare = getattr(consumer.pool, "spare", {})
        slots = Slots(
            lambda: getattr(consumer.controller, "max_concurrency", None) or consumer.pool.num_processes,
            lambda: len(state.reserved_requests),
            reserves=policy_of(consumer.app).reserves,
            spare=spare,
        )
        note_slots(slots, lambda: list(consumer.app.amqp.queues.consume_from))
        if not isinstance(channel, Channel):
            return
        channel.slots = slots
        beyond = max(spare.values(), default=0)

        def prefetch_left() -> int:
            qos = channel.qos
            held = len(qos._delivered) - len(qos._dirty)
            return int(qos.prefetch_count) + beyond - held if qos.prefetch_count else sys.maxsize

        channel.prefetch_left = prefetch_left

        def can_consume(_: Any) -> bool:
            return channel.can_take() and prefetch_left() > 0

        channel.qos.can_consume = MethodType(can_consume, channel.qos)
        begin = type(consumer).apply_eta_task

        def when_due(request: Any) -> None:
            slots, queue = channel.slots, str((request.delivery_info or {}).get("routing_key"))
            if slots is None or slots.may_retry(request.id, queue, channel.active_queues):
                begin(consumer, request)
                return
            again = consumer.timer.call_after(slots.pause, when_due, (request,), priority=6)
            request._eta_timer_entry = again  # what Celery cancels when the connection is closed

        consumer.apply_eta_task = when_due
        consumer.update_strategies()  # they have been made with the method that was there before


class Acks(StartStopStep):
    """Consumer step: while the event loop turns, acknowledgements leave once a turn."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """A loop is about to turn."""
        channel = consumer.task_consumer.channel
        if isinstance(channel, Channel):
            channel.call_soon = hub.call_soon

    def start(self, consumer: Any) -> None:
        """The loop comes next."""

    def stop(self, consumer: Any) -> None:
        """The connection broke, or the worker drains: nothing turns any more."""
        self._at_once(consumer)

    def shutdown(self, consumer: Any) -> None:
        """The drain is over."""
        self._at_once(consumer)

    @staticmethod
    def _at_once(consumer: Any) -> None:
        channel = getattr(consumer.task_consumer, "channel", None)
        if isinstance(channel, Channel):
            channel.call_soon = None
            channel.qos.send_acks()


class Drain(StartStopStep):
    """Worker step: the first request to stop drains, the second stops at once.

    Draining, running tasks finish and messages not begun go back. At once, running tasks are asked to give
    way through their tokens and everything unacknowledged goes back. SIGQUIT stops at once right away.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.worker = worker
        self.asked = 0
        draining.clear()
        ledger.clear()
        signals.worker_shutting_down.connect(self.on_signal, sender=worker.hostname, weak=False)

    def on_signal(self, how: str = "Warm", **_: Any) -> None:
        """Runs inside the signal handler."""
        draining.set()
        self.asked += 1
        if self.asked > 1 and how == "Warm":
            on_cold_shutdown(self.worker)

    def close(self, worker: Any) -> None:  # noqa: ARG002 - Celery's signature
        """However the worker was told to stop: it drains."""
        draining.set()


class EventFlush(StartStopStep):
    """Consumer step: task events leave in batches, a few times a second.

    Celery publishes them in each turn of the event loop, two or three times a task, before it acknowledges or
    takes in anything. A full batch (24 events) still leaves at once.
    """

    requires = ("celery.worker.consumer.events:Events",)

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """A loop is about to turn, with a new dispatcher; Celery drops the timer when the loop ends."""
        dispatcher = consumer.event_dispatcher
        if dispatcher is None or not dispatcher.enabled:
            return
        dispatcher.on_send_buffered = None
        hub.call_repeatedly(EVENTS_EVERY, dispatcher.flush)

    def start(self, consumer: Any) -> None:
        """The loop comes next."""

    def stop(self, consumer: Any) -> None:
        """The connection broke, or the worker drains and will send more."""

    def shutdown(self, consumer: Any) -> None:
        """The drain is over: what the last tasks reported leaves before the connection closes."""
        if consumer.event_dispatcher is not None:
            with suppress(*consumer.connection_errors):
                consumer.event_dispatcher.flush()


class Heartbeat(StartStopStep):
    """Consumer step: the heartbeat file. Off unless the policy names one."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self.policy = policy_of(consumer.app)
        self.file: HeartbeatFile | None = None

    def include_if(self, consumer: Any) -> bool:  # noqa: ARG002 - Celery's signature
        return self.policy.heartbeat_file is not None

    def create(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        if self.policy.heartbeat_file is not None:
            self.file = HeartbeatFile(self.policy.heartbeat_file, self.policy.heartbeat_every)
            self.file.touch()
            self.file.start()

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:  # noqa: ARG002 - Celery's signature
        """A loop is about to turn. Celery drops the timer when the connection of this loop breaks."""
        if self.file is not None:
            hub.call_repeatedly(self.policy.heartbeat_every, self.file.touch)
            self.file.loop_turns = True

    def start(self, consumer: Any) -> None:
        """Connected; the loop comes next."""

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """The connection broke, or the worker drains."""
        if self.file is not None:
            self.file.loop_turns = False

    def terminate(self, consumer: Any) -> None:
        self.stop(consumer)

    def shutdown(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        if self.file is not None:
            self.file.remove()
