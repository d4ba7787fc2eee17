"""For how long is an answer kept, how much of them, and which ones?"""

from __future__ import annotations

from dataclasses import dataclass

from cf_workers.errors import ConfigError

MEBIBYTE = 1024 * 1024

COMPLETE = frozenset({"end_turn", "stop_sequence"})
"""Stop reasons of a model that said all it wanted to. `tool_use` is none: tools have effects of their own."""


@dataclass(frozen=True)
class CachePolicy:
    """What the response cache may keep.

    Args:
        enabled: off: every look-up is a miss and nothing is stored.
        ttl_seconds: age up to which an answer is given; also applied to what others stored for longer.
        stale_seconds: time after that in which it is given to those who ask for stale answers.
        max_bytes: of all entries of all shards together, as stored; the server needs some 600 bytes more for
            each of them.
        shards: the store is split into so many parts, each with its share of the bytes and its own order of
            use. The whole fleet must agree; after a change, entries are out of reach until they expire.
        compress_above_bytes: longer texts are compressed.
        max_document_bytes: longer documents are not stored, and nothing is unpacked beyond it.
        timeout_seconds: bound on the server's answer.
        cooldown_seconds: after a failure, the server is left alone for so long.
        lease_seconds: a leader that has not renewed for so long is taken for dead.
    """

    enabled: bool = True
    ttl_seconds: float = 24 * 3600.0
    stale_seconds: float = 24 * 3600.0
    max_bytes: int = 100 * MEBIBYTE
    shards: int = 1
    compress_above_bytes: int = 1024
    max_document_bytes: int = 16 * MEBIBYTE
    timeout_seconds: float = 0.25
    cooldown_seconds: float = 1.0
    lease_seconds: float = 10.0

    def __post_init__(self) -> None:
        positive = (
            "ttl_seconds",
            "max_bytes",
            "shards",
            "max_document_bytes",
            "timeout_seconds",
            "lease_seconds",
        )
        wrong = [f"{name} must be above 0" for name in positive if not getattr(self, name) > 0]
        others = ("stale_seconds", "compress_above_bytes", "cooldown_seconds")
        wrong += [f"{name} must not be below 0" for name in others if not getattr(self, name) >= 0]
        if wrong:
            raise ConfigError(
                f"the cache cannot be set up: {'; '.join(wrong)}",
                {"hint": "to turn the cache off, set cache.enabled to false", "problems": wrong},
            )

    @classmethod
    def of_section(cls, *, enabled: bool, ttl_hours: float, max_size_mb: float) -> CachePolicy:
        """The policy that the `cache` section of a project asks for; a megabyte has 1024 × 1024 bytes."""
        return cls(
            enabled=enabled,
            ttl_seconds=ttl_hours * 3600.0,
            max_bytes=max(1, int(max_size_mb * MEBIBYTE)),
        )

    @property
    def shard_bytes(self) -> int:
        """The share of one shard."""
        return self.max_bytes // self.shards


def cacheable_reply(stop_reason: str, output: str) -> bool:
    """Whether a reply may answer later calls: complete, not refused, no tool call, and not blank."""
    return stop_reason in COMPLETE and bool(output.strip())
