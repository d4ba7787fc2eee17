"""Is the worker that took a step on still at work on it? Each claim is renewed by itself, every heartbeat."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from cf_workers._redis import Keys, RedisClient, Script, server_time
from cf_workers.workflows.outcome import Claim

log = logging.getLogger(__name__)

_RENEW = Script(__package__, "renew")
_FORGET_WORKERS_AFTER_SECONDS = 3600.0


@dataclass(frozen=True)
class LivenessPolicy:
    """How often a worker shows that it lives.

    Args:
        heartbeat_seconds: between two renewals.
        lease_seconds: a claim that was not renewed for this long is dead.
    """

    heartbeat_seconds: float = 2.0
    lease_seconds: float = 8.0


@dataclass(frozen=True)
class _Held:
    claim: Claim
    stop: Callable[[str], None]


class Heartbeat:
    """Renews the claims that this process is working on, and tells the fleet about the process.

    A step whose run is stopping, or whose claim another worker has taken over, is told to stop.

    Claims expire while the server cannot be reached, so nobody is declared dead within one lease after the
    connection came back or the server started: `may_take_over` says whether that time has passed.

    Args:
        worker: names this process, and no other in the fleet.
        about: what the process says of itself; JSON values.
        also: done with each heartbeat.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        *,
        worker: str,
        about: Callable[[], Mapping[str, Any]],
        also: Callable[[], None] = lambda: None,
        policy: LivenessPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._keys = keys
        self.worker = worker
        self._about = about
        self._also = also
        self.policy = policy or LivenessPolicy()
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_beat: float | None = None
        self._steady_since: float | None = None
        self.failures = 0

    @contextmanager
    def holding(self, claim: Claim, stop: Callable[[str], None]) -> Iterator[None]:
        """Renew `claim` for as long as the block runs; `stop(reason)` is called when it should end early."""
        with self._lock:
            self._held[claim.member] = _Held(claim, stop)
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(claim.member, None)

    @property
    def held(self) -> int:
        """How many steps this process is working on."""
        return len(self._held)

    @property
    def running(self) -> bool:
        """Whether the thread lives that renews claims."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def may_take_over(self) -> bool:
        """Whether a claim that was not renewed for a lease is surely dead."""
        since = self._steady_since
        return since is not None and self._clock() - since >= self.policy.lease_seconds

    def start(self) -> None:
        """Beat once, then go on in a daemon thread.

        Raises:
            redis.RedisError: the first heartbeat cannot be written.
        """
        self.beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and take this process off the list of workers."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zrem(self._keys.workers, self.worker)
            pipe.delete(self._keys.worker(self.worker))
            pipe.execute()

    def beat(self) -> None:
        """Renew everything now, and stop what should not go on."""
        with self._lock:
            held = list(self._held.values())
        runs = sorted({one.claim.run for one in held})
        with self._client.pipeline(transaction=False) as pipe:
            self._renew(pipe, [one.claim.member for one in held])
            pipe.info("server")
            for run in runs:
                pipe.hget(self._keys.run(run).run, "stopping")
            (_, gone), server, *reasons = pipe.execute()
        self._note_success(float(server["uptime_in_seconds"]))
        lost = set(json.loads(gone))
        stopping = dict(zip(runs, reasons, strict=True))
        for one in held:
            if one.claim.member in lost and one.claim.member in self._held:
                log.warning("claim.superseded run=%s step=%s", one.claim.run, one.claim.step)
                one.stop("superseded")
            elif stopping[one.claim.run]:
                one.stop(stopping[one.claim.run])
        self._also()

    def _renew(self, pipe: Any, members: list[str]) -> None:
        _RENEW(
            pipe,
            {
                "claims": self._keys.claims,
                "workers": self._keys.workers,
                "worker": self._keys.worker(self.worker),
            },
            {
                "worker": self.worker,
                "members": members,
                "about": dict(self._about()),
                "ttl": max(1, round(3 * self.policy.heartbeat_seconds)),
                "forget_after": _FORGET_WORKERS_AFTER_SECONDS,
            },
        )

    def _note_success(self, uptime_seconds: float) -> None:
        now = self._clock()
        first = self._last_beat is None
        late = self._last_beat is not None and now - self._last_beat > 2.5 * self.policy.heartbeat_seconds
        if late or (self._steady_since is None and not first):
            self._steady_since = now
        elif first:
            self._steady_since = now - uptime_seconds
        self._steady_since = max(self._steady_since or now, now - uptime_seconds)
        self._last_beat = now

    def _run(self) -> None:
        while not self._stop.wait(self.policy.heartbeat_seconds):
            try:
                self.beat()
            except redis.RedisError as error:
                self.failures += 1
                self._steady_since = None
                log.warning("heartbeat.failed error=%s", type(error).__name__)


def live_workers(
    client: RedisClient, keys: Keys, policy: LivenessPolicy | None = None
) -> list[dict[str, Any]]:
    """What each living worker says of itself, oldest heartbeat first; no entry for dead ones."""
    rules = policy or LivenessPolicy()
    oldest = server_time(client) - rules.lease_seconds
    alive = client.zrangebyscore(keys.workers, oldest, "+inf")
    found = client.mget([keys.worker(worker) for worker in alive]) if alive else []
    return [json.loads(about) for about in found if about]
