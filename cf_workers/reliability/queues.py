"""How long has work been waiting in the broker's queues?"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

SENT_AT = "cfw_sent_at"
"""Header of a message: Unix time of its publication. Neither Celery nor Redis keeps one."""


@dataclass(frozen=True)
class QueueState:
    """A queue at one moment.

    Args:
        oldest_sent_at: Unix time of the message that waits longest; `None` where the broker does not tell.
    """

    name: str
    length: int
    oldest_sent_at: int | None = None


class LooksAtQueues(Protocol):
    """Whoever can look at the queues of the broker."""

    def __call__(self, queues: Sequence[str]) -> Sequence[QueueState]:
        """The state of each of the queues."""
        ...


def note_time(headers: dict[str, Any] | None) -> None:
    """Write on a message of ours when it was published."""
    if headers is not None and str(headers.get("task", "")).startswith("cf_workers."):
        headers[SENT_AT] = int(time.time())


def look_at_queues(app: Any, queues: Sequence[str]) -> list[QueueState]:
    """The state of each queue; without ages where the broker is not Redis."""
    from cf_workers.reliability.transport import Channel

    with app.connection_for_read() as connection:
        channel = connection.default_channel
        if not isinstance(channel, Channel):
            return [QueueState(queue, _length(connection, queue)) for queue in queues]
        return [_state(channel, queue) for queue in queues]


def _state(channel: Any, queue: str) -> QueueState:
    key = f"{channel.global_keyprefix or ''}{queue}"
    with channel.conn_or_acquire() as client:
        length = int(client.execute_command("LLEN", queue))
        oldest = client.execute_command("LINDEX", key, -1)
    sent_at = json.loads(oldest).get("headers", {}).get(SENT_AT) if oldest else None
    return QueueState(queue, length, sent_at)


def _length(connection: Any, queue: str) -> int:
    try:
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return 0
