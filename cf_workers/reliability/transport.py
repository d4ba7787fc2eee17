"""How does a worker keep its messages when the connection they came by is gone?

kombu's Redis transport gives every unacknowledged message back when a channel closes, running here or not,
and needs the connection that was just dropped to do so: a restart of the broker ends the worker.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from math import inf
from time import time
from typing import Any

import redis
from celery.worker import state
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from cf_workers._redis import Script
from cf_workers.reliability.cancellation import draining
from cf_workers.reliability.ledger import ledger
from cf_workers.reliability.slots import OpenQueues, Slots

log = logging.getLogger(__name__)

UNREACHABLE = kombu_redis.Transport.connection_errors

_SAVE = Script(__package__, "save")
_TURN = Script(__package__, "turn")
_TAKEN_AT_ONCE = 8
"""And not more than half of the room: other workers are to have some as well."""

_LOOK_AGAIN_SECONDS = 0.02
"""A slot that becomes free must not lie idle for long while a queue is shut."""


class QoS(kombu_redis.QoS):
    """Acknowledges, renews and gives back messages, whatever became of the connection they came by."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsent: deque[str] = deque()

    def append(self, message: Any, delivery_tag: str) -> None:
        """Save a message just received. It is in no queue any more: unsaved, it must not be forgotten."""
        if self.channel.is_saved(delivery_tag):
            virtual.QoS.append(self, message, delivery_tag)
            return
        try:
            if not self._save_and_take(message, delivery_tag):
                super().append(message, delivery_tag)
        except UNREACHABLE:
            ledger.rescue(delivery_tag, message)
            raise

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge. With the broker away, remember to do it: the task has ended and must not run again.

        In the event loop, what is acknowledged in one turn leaves together at the next one.
        """
        if (later := self.channel.call_soon) is not None and not draining.is_set():
            ledger.owe(delivery_tag)
            self._quick_ack(delivery_tag)
            self._unsent.append(delivery_tag)
            if len(self._unsent) == 1:
                later(self.end_turn)
            return
        self.send_acks()
        try:
            super().ack(delivery_tag)
        except UNREACHABLE as error:
            ledger.owe(delivery_tag)
            self._quick_ack(delivery_tag)
            log.warning("acknowledging later tag=%s: %s", delivery_tag, error)
        else:
            ledger.settle(delivery_tag)

    def send_acks(self) -> None:
        """Acknowledge what was put off, in one round trip; with the broker away, it stays owed."""
        tags = self._put_off()
        if not tags:
            return
        try:
            with self.pipe_or_acquire() as pipe:
                pipe.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags).execute()
        except UNREACHABLE as error:
            log.warning("acknowledging %d messages later: %s", len(tags), error)
            return
        for tag in tags:
            ledger.settle(tag)

    def end_turn(self) -> None:
        """The same, and receive messages for the slots that have become free; in the event loop alone."""
        open_queues = self.channel.open_queues()
        if not open_queues:
            self.send_acks()
            return
        tags = self._put_off()
        if not tags:
            return
        queues, rooms = zip(*open_queues, strict=True)
        names = dict(zip(("first", "second", "third"), [*queues, *[queues[-1]] * 2], strict=False))
        keys = {"unacked": self.unacked_key, "index": self.unacked_index_key, **names}
        args = {"tags": tags, "now": time(), "rooms": [*rooms, 0, 0]}
        try:
            with self.channel.conn_or_acquire() as client:
                taken = _TURN(client, keys, args)
        except UNREACHABLE as error:
            log.warning("acknowledging %d messages later: %s", len(tags), error)
            return
        except redis.ResponseError as error:
            log.warning("the broker runs no scripts: %s", error)
            self.channel.takes_more = False
            self._unsent.extend(tags)
            self.send_acks()
            return
        for tag in tags:
            ledger.settle(tag)
        self.channel.deliver([(queues[number - 1], raw) for number, raw in taken])

    def _put_off(self) -> list[str]:
        return [self._unsent.popleft() for _ in range(len(self._unsent))]

    def _save_and_take(self, message: Any, delivery_tag: str) -> bool:
        """Save a message that came from a queue, and receive more in the same round trip; false: not done."""
        queue, most = self.channel.may_take()
        if queue is None:
            return False
        came_by = message.delivery_info
        kept = dumps([message._raw, came_by["exchange"], came_by["routing_key"]])
        keys = {"unacked": self.unacked_key, "index": self.unacked_index_key, "queue": queue}
        args = {"tag": delivery_tag, "message": kept, "now": time(), "most": most}
        try:
            with self.channel.conn_or_acquire() as client:
                taken = _SAVE(client, keys, args)
        except redis.ResponseError as error:  # a broker without scripts: one at a time then
            log.warning("the broker runs no scripts: %s", error)
            self.channel.takes_more = False
            return False
        virtual.QoS.append(self, message, delivery_tag)
        self.channel.take(taken)
        return True

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue)
        except UNREACHABLE:
            if requeue:
                ledger.leave([delivery_tag])
            else:
                ledger.owe(delivery_tag)
            self._quick_ack(delivery_tag)
            raise
        ledger.settle(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Give back what nobody here works on. A worker that ends gives back everything."""
        keep = set() if _stopping() else ledger.kept()
        given = [tag for tag in self._delivered if tag not in keep]
        self._delivered.clear()
        try:
            with self.channel.conn_or_acquire(client) as connected:
                for tag in given:
                    self.restore_by_tag(tag, client=connected)
        except UNREACHABLE as error:
            ledger.leave(given)
            log.warning("the broker is away; %d messages go back later: %s", len(given), error)

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Sweep up what dead workers left, but first say what is alive here."""
        self.renew(ledger.kept())
        self._save_rescued()
        self._restore_left()
        if ledger.may_sweep(self.visibility_timeout):
            super().restore_visible(start, num, interval)

    def _save_rescued(self) -> None:
        """Save again, and give back, what was received but could not be saved."""
        for tag, message in ledger.rescued().items():
            super().append(message, tag)
            self._quick_ack(tag)
            self.restore_by_tag(tag)
            ledger.settle(tag)

    def _restore_left(self) -> None:
        """Give back what could not be given back before, unless another worker has received it since."""
        left = ledger.left()
        if not left:
            return
        with self.channel.conn_or_acquire() as client:
            index = client.zrange(
                self.unacked_index_key, 0, max(left.values()), byscore=True, withscores=True
            )
            received = {bytes_to_str(tag): at for tag, at in index}
            for tag, since in left.items():
                if received.get(tag, inf) <= since:
                    self.restore_by_tag(tag, client=client)
                ledger.settle(tag)

    def renew(self, tags: Iterable[str]) -> None:
        """Restart the visibility timeout of these messages, and settle what is owed.

        XX: a tag that is gone from the index was acknowledged or given back, and stays gone.
        """
        owed = ledger.owed()
        alive = {tag: time() for tag in tags if tag not in owed}
        if not alive and not owed:
            return
        with self.channel.conn_or_acquire() as client:
            if alive:
                client.zadd(self.unacked_index_key, alive, xx=True)
            for tag in owed:
                self._remove_from_indices(tag).execute()
                ledger.settle(tag)

    def delivered_tags(self) -> set[str]:
        """Tags received by this channel and not yet settled."""
        return set(self._delivered) - self._dirty


class Channel(kombu_redis.Channel):
    """A channel that, once closed, can still acknowledge, reject and restore what it delivered."""

    QoS = QoS
    _shared_client: Any = None

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._last_connparams = super()._connparams()
        self._last_state = connection.state
        self._exchange_types = self.exchange_types
        self.slots: Slots | None = None
        self.takes_more = not self.global_keyprefix and list(self.priority_steps) == [0]
        self.call_soon: Callable[[Callable[[], None]], Any] | None = None
        self.prefetch_left: Callable[[], int] | None = None
        self._taken: deque[dict[str, Any]] = deque()
        self._saved: set[str] = set()
        self._queue_cycle = OpenQueues(self._queue_cycle, self._shut)

    def can_take(self) -> bool:
        """Whether any queue may be taken from."""
        queues = self.active_queues
        return self.slots is None or len(self.slots.shut(queues)) < len(queues)

    def _shut(self) -> frozenset[str]:
        return self.slots.shut(self.active_queues) if self.slots is not None else frozenset()

    def _brpop_read(self, **options: Any) -> Any:
        """Deliver the message that has come, and those that were received when it was saved."""
        queues = self._queue_cycle
        queues.last = None
        try:
            received = super()._brpop_read(**options)
            while self._taken:
                self.connection._deliver(self._taken.popleft(), queues.last)
        finally:
            queue, queues.last = queues.last, None
            if self._taken:
                log.warning("giving back %d messages of queue %s", len(self._taken), queue)
                ledger.leave(map(_tag, self._taken))
                self._saved.clear()
                self._taken.clear()
        return received

    def may_take(self) -> tuple[str | None, int]:
        """The queue from which a message is being received, if one is, and how many more may be."""
        queue = self._queue_cycle.last
        queues = (
            self.active_queues
        )  # without those whose consumer was cancelled while a message was on its way
        if queue not in queues or not self.takes_more:
            return None, 0
        if self.slots is None or self.prefetch_left is None:
            return queue, 0
        room = min(self.slots.room(queue, queues), self.prefetch_left())
        return queue, max(0, min(_TAKEN_AT_ONCE, (room - 1) // 2))

    def open_queues(self) -> list[tuple[str, int]]:
        """The first three queues, by priority, from which messages may be taken: the room of each."""
        if self.closed or not self.takes_more or self.slots is None or self.prefetch_left is None:
            return []
        queues = self.active_queues
        waiting = self._queue_cycle.asked if self._in_poll else ()
        left = self.prefetch_left()
        rooms = [
            (queue, min(left, self.slots.room(queue, queues)) - (queue in waiting))
            for queue in self._queue_cycle.open(len(queues))[:3]
        ]
        return [(queue, room) for queue, room in rooms if room > 0]

    def deliver(self, messages: Sequence[tuple[str, bytes | str]]) -> None:
        """Deliver messages that were received, and are saved, from these queues."""
        left = deque((queue, loads(bytes_to_str(raw))) for queue, raw in messages)
        self._saved.update(_tag(message) for _, message in left)
        try:
            while left:
                queue, message = left[0]
                self.connection._deliver(message, queue)
                left.popleft()
        finally:
            if left:
                log.warning("giving back %d messages", len(left))
                ledger.leave([_tag(message) for _, message in left])
                self._saved.difference_update(_tag(message) for _, message in left)

    def take(self, messages: Iterable[bytes | str]) -> None:
        """Deliver these, which are saved, after the one that is being delivered."""
        for raw in messages:
            message = loads(bytes_to_str(raw))
            self._saved.add(_tag(message))
            self._taken.append(message)

    def is_saved(self, delivery_tag: str) -> bool:
        """Whether this message was saved when it was received; asked once."""
        saved = delivery_tag in self._saved
        self._saved.discard(delivery_tag)
        return saved

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Wait for a message, and not for long while some queue is shut: it may open any moment."""
        super()._brpop_start(_LOOK_AGAIN_SECONDS if timeout is None and self._shut() else timeout)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            return dict(self._last_connparams)
        params: dict[str, Any] = super()._connparams(asynchronous)
        return params

    def _create_client(self, asynchronous: bool = False) -> Any:
        """One client for a pool of connections.

        kombu makes one for each command, four for each task, and making one takes redis-py as long as sending
        the command. Clients of one pool are alike, keep nothing, and may be used from any thread.
        """
        if asynchronous:
            return super()._create_client(asynchronous=True)
        client = self._shared_client
        if client is None or client.connection_pool is not self.pool:
            client = self._shared_client = super()._create_client()
        return client

    @property
    def state(self) -> Any:
        """Exchanges and bindings; a closed channel needs them to route what it gives back."""
        return self.connection.state if self.connection is not None else self._last_state

    def close(self) -> None:
        """Close for good, also when the connection is too broken to read the reply that is still due."""
        if self._consumers and not self.closed and not _stopping():
            ledger.connection_lost()
        self.call_soon = None
        if self._qos is not None:
            self._qos.send_acks()
        try:
            super().close()
        except UNREACHABLE:
            super().close()
        finally:
            self.exchange_types = self._exchange_types


class Transport(kombu_redis.Transport):
    """kombu's Redis transport on these channels."""

    Channel = Channel


def _tag(message: dict[str, Any]) -> str:
    return str(message["properties"]["delivery_tag"])


def _stopping() -> bool:
    return state.should_stop is not None or state.should_terminate is not None
