"""What if a message, a worker or a producer was lost? The record is the truth, and somebody keeps comparing.

Releases are edge-triggered; this is the level-triggered second line. One worker at a time, elected by a lock,
looks for claims that nobody renews, retries that nobody took, runs past their deadline, and steps whose
dependencies have ended but which nobody runs, and publishes them again. Claims make a publication too many
harmless, so every doubt is settled in favour of sending.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis
from kombu.exceptions import OperationalError

from cf_workers._redis import Keys, RedisClient
from cf_workers.errors import CfWorkersError
from cf_workers.wire import QUEUES
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.liveness import Heartbeat
from cf_workers.workflows.plan import FINISH
from cf_workers.workflows.record import RunStore
from cf_workers.workflows.repeats import Repeats
from cf_workers.workflows.resending import Resending
from cf_workers.workflows.stalled import StalledRuns

log = logging.getLogger(__name__)

_AT_ONCE = 1000
_SENT_AT_ONCE = 50
_WOKEN = 0.0
"""The score of a parked step that need not wait any longer; see `scripts/unpark.lua`."""


@dataclass(frozen=True)
class ReconcilerPolicy:
    """How eagerly lost work is sent again.

    Args:
        tick_seconds: between two looks at claims, retries and deadlines.
        parked_every_seconds: between two looks at parked steps; who waits for a turn should not miss it.
        runs_every_seconds: between two looks at whole runs.
        patience_seconds: how long something ready may lie untouched while its queue is empty.
        busy_patience_seconds: the same while its queue is not empty; doubled after each time.
        resend_seconds: how long a publication of ours is given before it is repeated.
        take_over_seconds: the same for a step whose worker died, which another worker may at first be too
            unsure to take over; doubled after each time, up to `busy_patience_seconds`.
        ahead_seconds: how long before it is due a parked step is published, since that takes a while; claims
            are granted so early, see `RecordPolicy.early_seconds`.
        unpark_per_second: how many parked steps are published in a second, so that they are no stampede.
    """

    tick_seconds: float = 1.0
    parked_every_seconds: float = 0.1
    runs_every_seconds: float = 5.0
    patience_seconds: float = 5.0
    busy_patience_seconds: float = 60.0
    resend_seconds: float = 10.0
    take_over_seconds: float = 2.0
    ahead_seconds: float = 0.1
    unpark_per_second: int = 500


class Reconciler:
    """Compares what is recorded with what is under way, and sends again what was lost.

    Args:
        queue_length: of a queue, for whether somebody will come to a step soon.
        forward: done before each look at parked steps, while there are any: it may unpark some.
        chores: done at each tick, by one worker of the fleet.
        woken: set by whoever has woken parked steps that should not wait for the next look.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        *,
        store: RunStore,
        launcher: Launcher,
        heartbeat: Heartbeat,
        queue_length: Callable[[str], int],
        forward: Callable[[], None] = lambda: None,
        chores: Sequence[Callable[[], object]] = (),
        woken: threading.Event | None = None,
        policy: ReconcilerPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._keys = keys
        self._store = store
        self._heartbeat = heartbeat
        self._queue_length = queue_length
        self._forward = forward
        self._chores = tuple(chores)
        self._woken = woken or threading.Event()
        self.policy = policy or ReconcilerPolicy()
        self._clock = clock
        self._sent = Resending(store, launcher, resend_seconds=self.policy.resend_seconds)
        self._stalled = StalledRuns(
            client,
            keys,
            store,
            self._sent,
            queue_length=queue_length,
            patience_seconds=self.policy.patience_seconds,
            busy_patience_seconds=self.policy.busy_patience_seconds,
        )
        self._repeats = Repeats(self.policy.busy_patience_seconds)
        self._runs_at = float("-inf")
        self._parked_at = float("-inf")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Compete for the lock and tick, in a daemon thread."""
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; another worker takes over once the lock has expired."""
        self._stop.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def tick(self) -> None:
        """One pass over everything that is due for a look."""
        now = self._server_time()
        if self._heartbeat.may_take_over:
            self._dead_claims(now)
        self._overdue(now)
        self.release_parked(now)
        self._deadlines(now)
        for chore in self._chores:
            chore()
        if self._clock() - self._runs_at >= self.policy.runs_every_seconds:
            self._runs_at = self._clock()
            self._stalled.look(now)
            forget = now - 100 * self.policy.resend_seconds
            self._sent.forget(forget)
            self._repeats.forget(forget)

    def _run(self) -> None:
        pause = min(self.policy.tick_seconds, self.policy.parked_every_seconds)
        looks = max(1, round(self.policy.tick_seconds / pause))
        elected = False
        look = 0
        while True:
            woken = self._woken.wait(pause)
            self._woken.clear()
            if self._stop.is_set():
                return
            look += not woken
            try:
                if not woken and look % looks == 0:
                    elected = self._elected()
                    if elected:
                        self.tick()
                elif elected:
                    self.release_parked()
            except (redis.RedisError, OperationalError, CfWorkersError) as error:
                log.warning("reconciler.failed error=%s", type(error).__name__)

    def _elected(self) -> bool:
        key, me = self._keys.reconciler, self._heartbeat.worker
        ttl = max(2, round(3 * self.policy.tick_seconds))
        if self._client.set(key, me, nx=True, ex=ttl):
            return True
        if self._client.get(key) != me:
            return False
        return bool(self._client.expire(key, ttl))

    def _dead_claims(self, now: float) -> None:
        oldest = now - self._store.policy.lease_seconds
        for member in self._range(self._keys.claims, oldest):
            run, step, fence = member.split("\t")
            claim = f"{step}\t{fence}"
            sent_at, times = self._sent.last(run, claim)
            pause = self.policy.take_over_seconds * 2 ** max(0, times - 1)
            if now - sent_at < min(pause, self.policy.busy_patience_seconds):
                continue
            log.warning("claim.dead run=%s step=%s", run, step)
            self._sent.note(run, claim, now)
            self._sent.clear(run, step)
            if not self._sent.send_current(run, step, now):
                self._client.zrem(self._keys.claims, member)

    def _overdue(self, now: float) -> None:
        for member in self._range(self._keys.due, now - self.policy.patience_seconds):
            run, step = member.split("\t")
            if not self._sent.send_current(run, step, now):
                self._client.zrem(self._keys.due, member)

    def release_parked(self, now: float | None = None) -> None:
        """Publish what was parked, for which there is no message.

        What was woken comes first and at once: its answer is there. What is only due follows, oldest first,
        at a pace.
        """
        budget = self._release_budget()
        if not self._client.zcard(self._keys.parked):
            return
        moment = self._server_time() if now is None else now
        self._forward()
        woken = self._range(self._keys.parked, _WOKEN)
        due = self._due_parked(moment, len(woken) + budget)
        repeats = self._repeats.among(due)
        left = self._left_in_queues(repeats, moment)
        members = woken + [member for member in due if member not in left]
        if not members:
            return
        # before they are sent: a step may park again and be woken again before all of them are
        again = moment + self.policy.resend_seconds
        self._client.zadd(self._keys.parked, dict.fromkeys(members, again), xx=True)
        self._repeats.note_sent(members, repeats, again=again, now=moment)
        # not all at once: who was woken first need not wait until messages are made for all others
        for start in range(0, len(members), _SENT_AT_ONCE):
            self._send_parked(members[start : start + _SENT_AT_ONCE], moment)

    def _send_parked(self, members: Sequence[str], now: float) -> None:
        """Publish parked steps, and let go of those whose runs are there no more."""
        steps = [member.split("\t") for member in members]
        attempts = self._attempts([run for run, _ in steps])
        tries = [(run, attempt, step) for (run, step), attempt in zip(steps, attempts, strict=True)]
        wanted = [(run, int(attempt), step) for run, attempt, step in tries if attempt is not None]
        sent = self._sent.send_together(wanted, now)
        if gone := [f"{run}\t{step}" for run, step in steps if (run, step) not in sent]:
            self._client.zrem(self._keys.parked, *gone)

    def _due_parked(self, moment: float, most: int) -> dict[str, float]:
        """Steps whose time has come, with their scores, but for those that were woken."""
        until = moment + self.policy.ahead_seconds
        found = self._client.zrangebyscore(
            self._keys.parked, "-inf", until, start=0, num=min(most, _AT_ONCE), withscores=True
        )
        return {member: score for member, score in found if score > _WOKEN}

    def _left_in_queues(self, repeats: Sequence[str], moment: float) -> set[str]:
        """Those of the repeats whose messages may still lie in a queue; they are put off."""
        if not repeats or not any(self._queue_length(queue) for queue in QUEUES):
            return set()
        left = {*repeats} - self._repeats.impatient(repeats, moment)
        if left:
            again = moment + self.policy.resend_seconds
            self._client.zadd(self._keys.parked, dict.fromkeys(left, again), xx=True)
            self._repeats.note_left(left, again=again)
        return left

    def _attempts(self, runs: Sequence[str]) -> list[str | None]:
        """The numbers of the attempts that runs are at, in one round trip."""
        with self._client.pipeline(transaction=False) as pipe:
            for run in runs:
                pipe.hget(self._keys.run(run).run, "attempt")
            return list(pipe.execute())

    def _release_budget(self) -> int:
        """How many parked steps may be published, for the time since the last look."""
        before, self._parked_at = self._parked_at, self._clock()
        return math.ceil(self.policy.unpark_per_second * min(1.0, self._parked_at - before))

    def _deadlines(self, now: float) -> None:
        for run in self._range(self._keys.active, now):
            try:
                _, running, attempt = self._store.stop(run, "timeout")
            except CfWorkersError:
                self._client.zrem(self._keys.active, run)
                continue
            if not running:
                self._sent.send(run, attempt, FINISH, now)

    def _range(self, key: str, highest: float) -> list[str]:
        return list(self._client.zrangebyscore(key, "-inf", highest, start=0, num=_AT_ONCE))

    def _server_time(self) -> float:
        seconds, micros = self._client.time()
        return float(seconds) + float(micros) / 1e6
