"""How do calls with one prompt prefix find out which of them writes it?

An entry of the provider's prompt cache can be read only once the first reply with it has begun. Calls that
start together would all pay for writing it; so one goes first, and the others wait for the first word of its
reply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from cf_workers._redis import Keys, RedisClient, Script
from cf_workers.prefixes.policy import WarmingPolicy
from cf_workers.wire import canonical_json

_APPROACH = Script(__package__, "approach")
_LEARN = Script(__package__, "learn")
_YIELD = Script(__package__, "yield")


@dataclass(frozen=True)
class Warm:
    """The provider has the prefix, until Unix time `until`."""

    until: float


@dataclass(frozen=True)
class Cold:
    """The provider does not keep this prefix; nobody waits for it until Unix time `until`."""

    until: float


@dataclass(frozen=True)
class First:
    """Make the call, and say so when its reply begins; the others wait until Unix time `until`."""

    prefix: str
    holder: str


@dataclass(frozen=True)
class Wait:
    """Another call writes the prefix, until `due` (Unix time) at the latest.

    Args:
        waiter: on the list of those that are woken; empty for who looks for itself.
    """

    prefix: str
    waiter: str
    due: float


Standing: TypeAlias = Warm | Cold | First | Wait
State = Literal["writing", "warm", "cold"]


def prefix_digest(*parts: str) -> str:
    """A name for a prefix: equal parts give equal names, and no others."""
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()


class Prefixes:
    """Prompt prefixes that calls of the whole fleet share.

    Every method raises `redis.RedisError` when the server fails.
    """

    def __init__(self, client: RedisClient, keys: Keys, policy: WarmingPolicy | None = None) -> None:
        self._client = client
        self._keys = keys
        self.policy = policy or WarmingPolicy()

    def approach(self, prefix: str, *, holder: str, waiter: str = "") -> Standing:
        """How a call stands to the prefix of its prompt.

        Args:
            prefix: its digest; see `prefix_digest`.
            holder: names this attempt, and no other in the fleet.
            waiter: by which the caller can be woken, the same whenever it asks; empty if it need not be.
        """
        lease_ms = int(self.policy.longest_wait_seconds * 1000)
        args = {"holder": holder, "waiter": waiter, "lease_ms": lease_ms}
        verdict, when = _APPROACH(self._client, self._of(prefix), args)
        until = when / 1000
        match verdict:
            case b"warm" | "warm":
                return Warm(until)
            case b"cold" | "cold":
                return Cold(until)
            case b"first" | "first":
                return First(prefix, holder)
        return Wait(prefix, waiter, until)

    def begun(self, prefix: str) -> list[str]:
        """A reply with this prefix has begun, or has read it. Returns the waiters to wake: all of them."""
        return self._learn(prefix, "warm")

    def not_kept(self, prefix: str) -> list[str]:
        """The provider neither wrote nor read it. Returns the waiters to wake: all of them."""
        return self._learn(prefix, "cold")

    def give_way(self, first: First) -> list[str]:
        """There was no reply. Returns the waiter to wake, which then goes first; the others go on waiting."""
        return _texts(_YIELD(self._client, self._of(first.prefix), {"holder": first.holder}))

    def waits(self, wait: Wait) -> bool:
        """Whether the caller is still on the list; ask after having parked."""
        return self._client.zscore(self._of(wait.prefix)["waiters"], wait.waiter) is not None

    def look(self, prefixes: Iterable[str]) -> dict[str, State | None]:
        """What has become of each prefix; `None` where nobody writes it, and nobody has."""
        wanted = list(prefixes)
        with self._client.pipeline(transaction=False) as pipe:
            for prefix in wanted:
                pipe.hget(self._keys.prefix(prefix), "state")
            found = pipe.execute()
        states = [None if state is None else cast("State", _text(state)) for state in found]
        return dict(zip(wanted, states, strict=True))

    def _learn(self, prefix: str, state: str) -> list[str]:
        args = {"state": state, "ttl_ms": int(self.policy.ttl_seconds * 1000)}
        return _texts(_LEARN(self._client, self._of(prefix), args))

    def _of(self, prefix: str) -> dict[str, str]:
        return {"prefix": self._keys.prefix(prefix), "waiters": self._keys.prefix_waiters(prefix)}


def _texts(found: list[bytes | str]) -> list[str]:
    return [_text(one) for one in found]


def _text(found: bytes | str) -> str:
    return found if isinstance(found, str) else found.decode()
