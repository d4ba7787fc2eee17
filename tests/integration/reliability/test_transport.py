"""What the repaired channels do to the keys on the server."""

from __future__ import annotations

import pytest
from kombu import Consumer, Exchange, Producer, Queue

from cf_workers.reliability.connection import Connection
from cf_workers.reliability.ledger import ledger
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
        def pipe_or_acquire(self, pipe=None, client=None):
            server.kill()
            return super().pipe_or_acquire(pipe, client)

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
