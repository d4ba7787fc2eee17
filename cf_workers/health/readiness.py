"""Is everything there that work needs, and if not, what is missing?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis
from kombu.exceptions import OperationalError

from cf_workers._redis import Keys, RedisClient
from cf_workers.reliability.queues import LooksAtQueues
from cf_workers.resilience import Guard, ScopeStatus
from cf_workers.settings import Settings
from cf_workers.wire import QUEUES
from cf_workers.workflows.liveness import LivenessPolicy, live_workers

SERVER, WORKERS, GUARD, BREAKER, QUEUE_AGE = "server", "workers", "guard", "breaker", "queues"


@dataclass(frozen=True)
class HealthPolicy:
    """When is something wrong?

    Args:
        queue_age_seconds: the oldest message of a queue may wait for so long.
    """

    queue_age_seconds: float = 300.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        says: what was found, in a few words.
        unreachable: whether it is a server or a worker that cannot be reached.
    """

    name: str
    ok: bool
    says: str
    unreachable: bool = False


@dataclass(frozen=True)
class Readiness:
    """All checks together."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def unreachable(self) -> bool:
        """Whether a server or the workers cannot be reached."""
        return any(check.unreachable for check in self.checks if not check.ok)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        reasons = [f"{check.name}: {check.says}" for check in self.checks if not check.ok]
        checks = {check.name: asdict(check) for check in self.checks}
        for check in checks.values():
            del check["name"], check["unreachable"]
        return {"success": self.ready, "ready": self.ready, "reasons": reasons, "checks": checks}


class Examiner:
    """Looks at the server, the workers, the breakers and the queues of one namespace.

    Args:
        look: asks the broker for the state of queues.
        clock: Unix time.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        *,
        guard: Guard,
        look: LooksAtQueues,
        liveness: LivenessPolicy | None = None,
        policy: HealthPolicy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._keys = keys
        self._guard = guard
        self._look = look
        self._liveness = liveness
        self.policy = policy or HealthPolicy()
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings, client: RedisClient, look: LooksAtQueues) -> Examiner:
        """What looks at a namespace as its settings say."""
        return cls(
            client,
            Keys(settings.namespace),
            guard=Guard(client, Keys(), settings.guard_policy),
            look=look,
            liveness=settings.liveness_policy,
            policy=HealthPolicy(queue_age_seconds=settings.health.queue_age_seconds),
        )

    def examine(self) -> Readiness:
        """Look at everything; without a server there is nothing more to see."""
        try:
            server, workers = self._server(), live_workers(self._client, self._keys, self._liveness)
            return Readiness(
                (server, _workers(workers), self._guards(workers), self._breakers(), self._queues())
            )
        except (redis.RedisError, OperationalError, OSError) as error:
            says = f"does not answer ({type(error).__name__})"
            return Readiness((Check(SERVER, False, says, unreachable=True),))

    def _server(self) -> Check:
        began = time.perf_counter()
        self._client.ping()
        return Check(SERVER, True, f"answers in {(time.perf_counter() - began) * 1000:.1f} ms")

    def _guards(self, workers: Sequence[Mapping[str, Any]]) -> Check:
        """Work goes on without guards, but limits are not kept: somebody should know."""
        blind = sum(bool(worker.get("guard_blind")) for worker in workers)
        calls = self._guard.unasked().calls
        went = f"{calls} calls were made without asking" if calls else "no call was made without asking"
        if blind:
            return Check(GUARD, False, f"{blind} of {len(workers)} workers call without asking; {went}")
        return Check(GUARD, True, went)

    def _breakers(self) -> Check:
        statuses = [self._guard.status(scope) for scope in self._guard.scopes()]
        wrong = [said for status in statuses if (said := _closed_because(status))]
        return Check(BREAKER, not wrong, "; ".join(wrong) or "closed")

    def _queues(self) -> Check:
        said, late = [], False
        for queue in self._look(QUEUES):
            age = None if queue.oldest_sent_at is None else max(0.0, self._clock() - queue.oldest_sent_at)
            late = late or (age is not None and age > self.policy.queue_age_seconds)
            waits = f", the oldest for {age:.0f} s" if age is not None else ""
            if queue.length:
                said.append(f"{queue.length} in {queue.name}{waits}")
        return Check(QUEUE_AGE, not late, "; ".join(said) or "empty")


def _workers(found: Sequence[Mapping[str, Any]]) -> Check:
    served = {queue for worker in found for queue in worker["queues"]}
    missing = [queue for queue in QUEUES if queue not in served]
    if not found:
        return Check(WORKERS, False, "none is alive", unreachable=True)
    if missing:
        says = f"{len(found)} alive, and none listens on {', '.join(missing)}"
        return Check(WORKERS, False, says, unreachable=True)
    return Check(WORKERS, True, f"{len(found)} alive")


def _closed_because(status: ScopeStatus) -> str | None:
    """Why no call of this scope may be made, or only few; `None` when nothing is in the way."""
    if status.stopped_until is not None:
        return f"{status.scope}: a spend limit is reached, for {status.stopped_until - status.now:.0f} s more"
    breaker = status.breaker
    if breaker.state == "closed":
        return None
    more = f", for {max(0.0, breaker.until - status.now):.0f} s more" if breaker.until is not None else ""
    return f"{status.scope}: {breaker.state.replace('_', '-')}{more}"
