"""Who sees to the batch lane, and when? One poll at a time in the fleet, when there is something to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import uuid4

from cf_workers._redis import Keys, RedisClient, server_time
from cf_workers.batches import BatchPolicy, Courier, PackTable

_ASKED_SECONDS = 10
"""A poll that was published and not begun for so long is published again."""


class BatchLane:
    """Polls, and has polls published.

    Args:
        publish: sends the message of a poll.
        also: done whenever the right to poll is renewed.
        worker: names this process.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        packs: PackTable,
        courier: Courier,
        *,
        publish: Callable[[], object],
        worker: str,
        also: Callable[[], None] = lambda: None,
        policy: BatchPolicy | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._packs = packs
        self._courier = courier
        self._publish = publish
        self._worker = worker
        self._also = also
        self.policy = policy or BatchPolicy()
        self._holder: str | None = None
        self._lock = threading.Lock()

    def remind(self) -> bool:
        """Have a poll published if one is due and none is under way; for the reconciler's tick."""
        policy, keys = self.policy, self._keys.batches
        now = server_time(self._client)
        due = self._packs.work_is_due(now, linger_seconds=policy.linger_seconds, max_rows=policy.max_rows)
        if not due or self._client.exists(keys.poller):
            return False
        if not self._client.set(keys.asked, self._worker, nx=True, ex=_ASKED_SECONDS):
            return False
        self._publish()
        return True

    def poll(self) -> dict[str, int]:
        """Do what is due, unless somebody else is at it; how many rows went where."""
        holder = f"{self._worker}:{uuid4().hex}"
        if not self._hold(holder, take=True):
            return {}
        with self._lock:
            self._holder = holder
        try:
            return self._courier.poll(lambda: self._hold(holder, take=False))
        finally:
            with self._lock:
                self._holder = None
            self._packs.let_go(holder)
            self._client.delete(self._keys.batches.asked)

    def renew(self) -> None:
        """Keep the right to poll while a poll lasts; for the heartbeat."""
        holder = self._holder
        if holder is not None:
            self._hold(holder, take=False)
        self._also()

    def _hold(self, holder: str, *, take: bool) -> bool:
        return self._packs.hold(holder, lease_seconds=self.policy.lease_seconds, take=take)
