from __future__ import annotations

from unittest.mock import Mock

import pytest
from amqp.exceptions import PreconditionFailed, RecoverableConnectionError
from celery import Celery
from kombu.transport import memory, pyamqp
from kombu.transport import redis as kombu_redis

from cf_workers.reliability import install, rabbitmq
from cf_workers.reliability.connection import Connection
from cf_workers.reliability.transport import Channel, QoS, Transport


@pytest.fixture
def app():
    app = Celery("app", set_as_current=False)
    install(app)
    return app


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_redis_url_uses_the_repaired_transport(app, scheme):
    app.conf.broker_url = f"{scheme}://:secret@example.test:6390/3?ssl_cert_reqs=required"

    pooled = app.pool.new()
    for connection in (
        app.connection_for_read(),
        app.connection_for_write(),
        app.connection().clone(),
        pooled,
    ):
        assert connection.get_transport_cls() is Transport
        assert connection.as_uri() == f"{scheme}://:**@example.test:6390/3"
        assert connection.transport.driver_type == "redis"


def test_another_url_keeps_the_transport_of_kombu(app):
    app.conf.broker_url = "memory://"

    assert app.connection_for_read().get_transport_cls() is memory.Transport


@pytest.mark.parametrize(
    ("scheme", "shipped"),
    [
        ("amqp", pyamqp.Transport),
        ("pyamqp", pyamqp.Transport),
        ("amqps", pyamqp.SSLTransport),
    ],
)
def test_rabbitmq_keeps_kombus_transport_but_for_its_channels(app, scheme, shipped):
    app.conf.broker_url = f"{scheme}://example.test//"

    transport = app.connection_for_read().get_transport_cls()

    assert issubclass(transport, shipped)
    assert transport.Connection.Channel is rabbitmq.Channel


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (
            "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout: 5 ms.",
            True,
        ),
        ("PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'batch' in vhost '/'", False),
    ],
)
def test_a_message_held_for_too_long_is_a_lost_connection_and_nothing_else_is(text, lost):
    connection = rabbitmq.Connection("example.test:5672")
    channel = rabbitmq.Channel(connection, 1)
    channel.send_method = Mock()

    with pytest.raises(RecoverableConnectionError if lost else PreconditionFailed) as caught:
        channel._on_close(406, text, 0, 0)

    assert isinstance(caught.value, connection.connection_errors) is lost


def test_tls_is_still_used_with_the_repaired_transport(app):
    app.conf.broker_url = "rediss://example.test/0?ssl_cert_reqs=required"

    assert app.connection_for_read().ssl


def test_an_alternate_url_uses_the_repaired_transport_too():
    connection = Connection("redis://one.test/0;redis://two.test/0")

    connection.switch("redis://two.test/0")

    assert connection.get_transport_cls() is Transport


def test_pools_are_not_shared_with_plain_connections():
    import kombu

    ours, theirs = Connection("redis://one.test/0"), kombu.Connection("redis://one.test/0")

    assert ours.__eqhash__() != theirs.__eqhash__()
    assert ours.__eqhash__() == Connection("redis://one.test/0").__eqhash__()


def test_the_repairs_override_what_they_repair():
    """A method that kombu renames would be repaired no more."""
    repaired = {
        QoS: ["ack", "reject", "restore_unacked", "restore_visible"],
        Channel: ["_connparams", "state", "close"],
    }
    for ours, names in repaired.items():
        stock = getattr(kombu_redis, ours.__name__)
        assert [name for name in names if not hasattr(stock, name)] == []
    assert {"_remove_from_indices", "restore_by_tag"} <= set(dir(kombu_redis.QoS))
