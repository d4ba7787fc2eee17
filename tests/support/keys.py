"""Which keys may stay in Redis for ever?

A test module that writes further permanent keys names them in a constant of its own:
`PERMANENT_KEYS = ("cf:agents",)`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from types import ModuleType
from typing import Any

from cf_workers._redis import PERMANENT

PERMANENT_KEYS = (
    *(f"*:{name}" for name in PERMANENT),  # our own, each bounded by what is active or by trimming
    "_kombu.binding*",  # kombu: which queues an exchange feeds, and until when
    "unacked",  # kombu: messages a worker holds
    "unacked_index",
)

NO_EXPIRY = -1


def permanent_keys_of(module: ModuleType | None) -> tuple[str, ...]:
    """The patterns of keys that may stay after a test of this module."""
    return PERMANENT_KEYS + tuple(getattr(module, "PERMANENT_KEYS", ()))


def leaked_keys(client: Any, permanent: tuple[str, ...]) -> list[str]:
    """Keys without a TTL that match none of the permanent patterns, sorted."""
    names = [key.decode() if isinstance(key, bytes) else key for key in client.scan_iter(count=1000)]
    candidates = [name for name in names if not any(fnmatchcase(name, each) for each in permanent)]
    return sorted(name for name in candidates if client.ttl(name) == NO_EXPIRY)


def assert_nothing_leaked(client: Any, module: ModuleType | None) -> None:
    leaked = leaked_keys(client, permanent_keys_of(module))
    assert not leaked, f"keys without a TTL that are not declared permanent: {leaked}"
