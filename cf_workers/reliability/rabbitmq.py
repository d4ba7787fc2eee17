"""How does a worker outlive a call that RabbitMQ waits too long for, and what is said if it lets nobody in?

RabbitMQ closes the channel of a consumer that has not acknowledged a message within its `consumer_timeout`,
30 minutes as shipped. Celery takes that for an error that nothing can be done about, and the worker ends. It
is a lost connection: with a new one all messages come again, and those whose steps run here are passed over.
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import AccessRefused, NotAllowed, PreconditionFailed, RecoverableConnectionError
from kombu.transport import pyamqp

from cf_workers.reliability.connection import BrokerRefusedError

_ACKNOWLEDGED_TOO_LATE = "delivery acknowledgement"


class Channel(pyamqp.Channel):
    """A channel that is lost, and not in error, when a message was held for too long."""

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        try:
            super()._on_close(reply_code, reply_text, class_id, method_id)
        except PreconditionFailed as error:
            if _ACKNOWLEDGED_TOO_LATE not in reply_text:
                raise
            raise RecoverableConnectionError(reply_text, (class_id, method_id), reply_code) from error


class Connection(pyamqp.Connection):
    """A connection of such channels."""

    Channel = Channel


class _Entered:
    """A transport that says so when the broker does not let it in."""

    Connection = Connection

    def establish_connection(self) -> Any:
        try:
            return super().establish_connection()  # type: ignore[misc]
        except (AccessRefused, NotAllowed) as error:
            raise BrokerRefusedError(str(error)) from error


class Transport(_Entered, pyamqp.Transport):
    """kombu's RabbitMQ transport on these channels."""


class SSLTransport(_Entered, pyamqp.SSLTransport):
    """The same over TLS."""


def transport_for(shipped: Any) -> Any:
    """The transport to use in place of one that kombu ships; any other is left as it is."""
    return {pyamqp.Transport: Transport, pyamqp.SSLTransport: SSLTransport}.get(shipped, shipped)
