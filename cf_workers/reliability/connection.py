"""Which transport serves a broker URL?

Used as `amqp_cls = "cf_workers.reliability.connection:AMQP"` on an app. Choosing by the URL's scheme keeps
what a transport given by path loses: TLS of `rediss://`, the choice after a switch to an alternate URL, and
the scheme that monitors read from `as_uri()`.
"""

from __future__ import annotations

from typing import Any

from celery.app import amqp
from kombu.connection import Connection as KombuConnection
from kombu.connection import ConnectionPool, PooledConnection
from kombu.exceptions import OperationalError

REDIS = frozenset({"redis", "rediss"})
RABBITMQ = frozenset({"amqp", "amqps", "pyamqp"})


class BrokerRefusedError(OperationalError):
    """The broker answers, and does not let us in: wrong user, password or virtual host."""


class _Repaired:
    """A connection on a repaired transport for Redis and RabbitMQ, and on kombu's own for every other."""

    transport_cls: Any

    def get_transport_cls(self) -> Any:
        if self.transport_cls in RABBITMQ:
            from cf_workers.reliability.rabbitmq import transport_for

            return transport_for(super().get_transport_cls())  # type: ignore[misc]
        if self.transport_cls not in REDIS:
            return super().get_transport_cls()  # type: ignore[misc]
        from cf_workers.reliability.transport import Transport  # kombu's Redis transport loads redis-py

        return Transport


class _PooledConnection(_Repaired, PooledConnection):
    """What producers publish on."""


class _Pool(ConnectionPool):
    """kombu's pool makes connections of a class of its own."""

    def new(self) -> _PooledConnection:
        return _PooledConnection(self, **dict(self.connection._info(resolve=False)))


class Connection(_Repaired, KombuConnection):
    """A repaired connection, and a pool of them."""

    def Pool(self, limit: int | None = None, **kwargs: Any) -> _Pool:  # noqa: N802 - kombu's name
        return _Pool(self, limit, **kwargs)

    def __eqhash__(self) -> Any:
        """Never share a pool with plain connections to the same URL."""
        return (type(self).__qualname__, super().__eqhash__())


class AMQP(amqp.AMQP):
    """An app's messaging on repaired connections."""

    Connection = Connection
    BrokerConnection = Connection
