from __future__ import annotations

import pytest
from celery import Celery
from kombu.transport import pyamqp
from kombu.transport import redis as kombu_redis

from cf_workers.reliability import install
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

    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection().clone()):
        assert connection.get_transport_cls() is Transport
        assert connection.as_uri() == f"{scheme}://:**@example.test:6390/3"
        assert connection.transport.driver_type == "redis"


def test_another_url_keeps_the_transport_of_kombu(app):
    app.conf.broker_url = "amqp://example.test//"

    assert app.connection_for_read().get_transport_cls() is pyamqp.Transport


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
