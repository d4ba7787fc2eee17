"""What the repaired channels do to the keys on the server."""

from __future__ import annotations

import pytest
import redis
from kombu import Consumer, Exchange, Producer, Queue

from cf_workers.reliability import transport
from cf_workers.reliability.cancellation import draining
from cf_workers.reliability.connection import Connection
from cf_workers.reliability.ledger import ledger
from cf_workers.reliability.slots import Slots
from cf_workers.reliability.transport import UNREACHABLE, QoS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

QUEUE = Queue("work", Exchange("named", type="direct"), routing_key="work")


@pytest.fixture
def connect(server):
    opened = []

    def open_one(**options):
        options = {"priority_steps": [0], "visibility_timeout": 60, **options}
        connection = Connection(server.url, transport_options=options)
        opened.append(connection)
        return connection

    ledger.clear()
    yield open_one
    for connection in opened:
        connection.release()
    ledger.clear()


def receive(connection, count=1):
    """Publish and receive messages; they are held then."""
    channel = connection.channel()
    producer = Producer(channel, exchange=QUEUE.exchange, routing_key=QUEUE.routing_key)
    messages = []
    with Consumer(channel, [QUEUE], on_message=messages.append):
        for number in range(count):
            producer.publish({"number": number}, declare=[QUEUE])
        while len(messages) < count:
            connection.drain_events(timeout=60)
    return messages


@pytest.fixture
def receiver(connect):
    """Receives once, from a queue with so many messages, with so many slots free."""

    def receive_once(waiting, room, take=None):
        connection = connect()
        channel = connection.channel()
        messages = []
        producer = Producer(channel, exchange=QUEUE.exchange, routing_key=QUEUE.routing_key)
        for number in range(waiting):
            producer.publish({"number": number}, declare=[QUEUE])
        channel.slots = Slots(lambda: room, lambda: len(messages), reserves={}, spare={})
        channel.prefetch_left = lambda: room
        with Consumer(channel, [QUEUE], on_message=lambda m: (messages.append(m), take and take(m))):
            connection.drain_events(timeout=60)
        return messages

    ledger.clear()
    return receive_once


def test_several_messages_are_received_at_once_in_their_order_while_there_is_room(server, receiver):
    messages = receiver(waiting=6, room=100)

    assert [message.payload["number"] for message in messages] == [0, 1, 2, 3, 4, 5]
    assert [message.delivery_info["routing_key"] for message in messages] == ["work"] * 6
    assert (server.waiting("work"), server.held()) == (0, 6)
    for message in messages:
        message.ack()
    assert server.settled()


def test_no_more_messages_are_received_at_once_than_half_of_what_there_is_room_for(server, receiver):
    assert len(receiver(waiting=9, room=5)) == 3
    assert (server.waiting("work"), server.held()) == (6, 3)


def test_with_room_for_one_message_one_is_received(server, receiver):
    assert len(receiver(waiting=3, room=1)) == 1
    assert (server.waiting("work"), server.held()) == (2, 1)


def test_messages_that_were_received_at_once_go_back_as_they_came(server, receiver, connect):
    for message in receiver(waiting=4, room=100):
        message.requeue()
    assert (server.waiting("work"), server.held()) == (4, 0)

    again = receiver(waiting=0, room=100)

    assert sorted(message.payload["number"] for message in again) == [0, 1, 2, 3]
    assert {message.delivery_info["exchange"] for message in again} == {"named"}


def test_nothing_more_is_received_from_a_queue_whose_consumer_was_cancelled_meanwhile(connect):
    channel = connect().channel()
    channel.slots = Slots(lambda: 100, lambda: 0, reserves={}, spare={})
    channel.prefetch_left = lambda: 100
    channel._queue_cycle.last = "work"

    with Consumer(channel, [QUEUE], on_message=lambda _: None):
        assert channel.may_take() == ("work", 8)
    assert channel.may_take() == (None, 0)


def test_what_was_received_with_a_message_that_breaks_the_worker_is_given_back(server, receiver):
    def fail(message):
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        receiver(waiting=3, room=100, take=fail)

    assert len(ledger.left()) == 2
    assert server.held() == 3, "until the next sweep"


def test_a_broker_that_runs_no_scripts_gives_one_message_at_a_time(server, receiver, monkeypatch):
    def refuse(*_):
        raise redis.ResponseError("unknown command EVALSHA")

    monkeypatch.setattr(transport, "_SAVE", refuse)

    assert len(receiver(waiting=3, room=100)) == 1
    assert (server.waiting("work"), server.held()) == (2, 1)


def test_something_that_is_no_message_is_left_to_those_who_receive_one_at_a_time(server, connect, receiver):
    with server.client() as client:
        client.rpush("work", "no message")

        messages = []
        with pytest.raises(ValueError):  # noqa: PT011 - kombu's own, as ever
            messages += receiver(waiting=0, room=100)
        assert messages == []


def test_acknowledgements_of_one_turn_of_the_loop_leave_together(server, connect):
    messages = receive(connect(), 3)
    channel, turn = messages[0].channel, []
    channel.call_soon = turn.append

    for message in messages:
        message.ack()

    assert (server.held(), len(turn)) == (3, 1)
    assert len(ledger.owed()) == 3, "kept from those who give back or renew"
    turn.pop()()
    assert server.settled()
    assert ledger.owed() == set()


HIGH, LOW = (Queue(name, Exchange(name, type="direct"), routing_key=name) for name in ("high", "low"))


@pytest.fixture
def turning(connect):
    """A consumer of two queues in a loop that turns when told to, with some messages in hand."""

    def turning(*, in_hand, high=0, low=0, room=100, reserves=None):
        connection = connect(queue_order_strategy="priority")
        channel, messages, turns = connection.channel(), [], []
        producer = Producer(channel)

        def publish(queue, count):
            for number in range(count):
                body = f"{queue.name} {number}"
                producer.publish(
                    body, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue]
                )

        publish(LOW, in_hand)
        consumer = Consumer(channel, [HIGH, LOW], on_message=messages.append)
        consumer.consume()
        while len(messages) < in_hand:
            connection.drain_events(timeout=60)
        held, messages[:] = list(messages), []
        publish(HIGH, high)
        publish(LOW, low)
        channel.slots = Slots(lambda: room, lambda: len(messages), reserves=reserves or {}, spare={})
        channel.prefetch_left = lambda: room
        channel.call_soon = turns.append
        for message in held:
            message.ack()
        (turn,) = turns
        turn()
        return [message.payload for message in messages]

    return turning


def test_slots_that_become_free_are_filled_in_the_round_trip_that_acknowledges(server, turning):
    assert turning(in_hand=2, low=3) == ["low 0", "low 1"]
    assert (server.waiting("low"), server.held()) == (1, 2)


def test_they_are_filled_from_the_first_queue_first(turning):
    assert turning(in_hand=3, high=2, low=3) == ["high 0", "high 1", "low 0"]


def test_a_queue_leaves_slots_to_those_before_it_then_as_well(turning):
    assert turning(in_hand=3, low=3, room=3, reserves={"low": 0.6}) == ["low 0"]


def test_what_cannot_be_delivered_then_is_given_back(server, connect):
    connection = connect()
    [message] = receive(connection)
    channel = message.channel
    producer = Producer(channel, exchange=QUEUE.exchange, routing_key=QUEUE.routing_key)
    producer.publish({"number": 1}, declare=[QUEUE])

    def breaks(_):
        raise RuntimeError("scripted")

    with Consumer(channel, [QUEUE], on_message=breaks):
        channel.slots = Slots(lambda: 9, lambda: 0, reserves={}, spare={})
        channel.prefetch_left, turns = lambda: 9, []
        channel.call_soon = turns.append
        message.ack()
        with pytest.raises(RuntimeError, match="scripted"):
            turns.pop()()
        channel.call_soon = None
    channel.qos.restore_visible()

    assert (server.waiting("work"), server.held()) == (1, 0)


def test_acknowledgements_that_were_put_off_leave_before_the_channel_closes(server, connect):
    connection = connect()
    [message] = receive(connection)
    message.channel.call_soon = lambda _: None
    message.ack()

    connection.release()

    assert server.settled()


def test_a_worker_that_drains_acknowledges_at_once(server, connect):
    first, second = receive(connect(), 2)
    first.channel.call_soon = lambda _: None
    first.ack()
    draining.set()
    try:
        second.ack()
    finally:
        draining.clear()

    assert server.settled()


def test_a_message_of_a_closed_channel_can_be_acknowledged(server, connect):
    connection = connect()
    [message] = receive(connection)
    ledger.hold(message.delivery_tag)
    connection.release()
    assert server.held() == 1, "kept, because its task runs"

    message.ack()

    assert server.settled()
    assert ledger.kept() == set()


def test_a_message_of_a_closed_channel_can_be_given_back_to_a_named_exchange(server, connect):
    connection = connect()
    [message] = receive(connection)
    ledger.hold(message.delivery_tag)
    connection.release()

    message.requeue()

    assert (server.waiting("work"), server.held()) == (1, 0)


def test_closing_gives_back_what_no_task_works_on(server, connect):
    connection = connect()
    messages = receive(connection, 3)
    ledger.hold(messages[1].delivery_tag)

    connection.release()

    assert (server.waiting("work"), server.held()) == (2, 1)


def test_renewing_never_revives_what_was_acknowledged(server, connect):
    connection = connect()
    first, second = receive(connection, 2)
    qos = first.channel.qos
    first.ack()

    qos.renew([first.delivery_tag, second.delivery_tag])

    with server.client() as client:
        assert client.zrange("unacked_index", 0, -1) == [second.delivery_tag.encode()]


def test_renewing_restarts_the_timeout(server, connect):
    connection = connect()
    [message] = receive(connection)
    with server.client() as client:
        client.zadd("unacked_index", {message.delivery_tag: 1})
        message.channel.qos.renew([message.delivery_tag])

        assert client.zscore("unacked_index", message.delivery_tag) > 1_000_000


@pytest.mark.chaos
def test_an_acknowledgement_that_finds_no_broker_is_made_later(server, connect):
    connection = connect()
    [message] = receive(connection)
    ledger.hold(message.delivery_tag)
    server.kill()

    message.ack()

    assert ledger.owed() == {message.delivery_tag}
    server.start()
    message.channel.qos.renew([])
    assert server.settled()
    assert ledger.owed() == set()


@pytest.mark.chaos
def test_what_could_not_be_given_back_goes_back_at_the_next_connection(server, connect):
    connection = connect()
    receive(connection, 2)
    server.kill()
    connection.release()
    server.start()
    assert (server.waiting("work"), server.held()) == (0, 2)

    connect().channel().qos.restore_visible()

    assert (server.waiting("work"), server.held()) == (2, 0)


@pytest.mark.chaos
def test_what_another_worker_received_meanwhile_stays_with_it(server, connect):
    connection = connect()
    [message] = receive(connection)
    server.kill()
    connection.release()
    server.start()
    with server.client() as client:
        client.zadd("unacked_index", {message.delivery_tag: 9_999_999_999})

    connect().channel().qos.restore_visible()

    assert (server.waiting("work"), server.held()) == (0, 1)


@pytest.mark.chaos
def test_a_message_received_just_before_the_broker_dies_goes_back(server, connect):
    class DiesBeforeSaving(QoS):
        def _save_and_take(self, message, delivery_tag):
            server.kill()
            return super()._save_and_take(message, delivery_tag)

    connection = connect()
    channel = connection.channel()
    channel.QoS = DiesBeforeSaving
    received = []
    Producer(channel).publish({"number": 1}, exchange=QUEUE.exchange, routing_key="work", declare=[QUEUE])
    with pytest.raises(UNREACHABLE), Consumer(channel, [QUEUE], on_message=received.append):
        connection.drain_events(timeout=60)
    connection.release()
    server.start()
    assert (server.waiting("work"), server.held()) == (0, 0), "popped, and saved nowhere"

    connect().channel().qos.restore_visible()

    assert received == []
    assert (server.waiting("work"), server.held()) == (1, 0)


def test_tasks_that_run_here_are_never_swept_here(server, connect):
    connection = connect(visibility_timeout=1)
    kept, abandoned = receive(connection, 2)
    ledger.hold(kept.delivery_tag)
    with server.client() as client:
        client.zadd("unacked_index", {kept.delivery_tag: 1, abandoned.delivery_tag: 1})

    kept.channel.qos.restore_visible(interval=1)

    assert (server.waiting("work"), server.held()) == (1, 1)


def test_a_channel_makes_one_client_for_all_its_commands(connect):
    channel = connect().channel()

    with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
        assert first is second


def test_a_channel_that_was_closed_makes_a_client_on_new_connections(connect):
    channel = connect().channel()
    with channel.conn_or_acquire() as before:
        before.ping()
    channel.close()

    with channel.conn_or_acquire() as after:
        assert after is not before
        assert after.ping()
    channel.pool.disconnect()
