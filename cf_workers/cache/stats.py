"""What is the cache good for, and what is in it? Numbers of the fleet, and what is known of one entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cf_workers.money import usd


@dataclass(frozen=True)
class CacheStats:
    """The whole fleet's use of the cache.

    Args:
        hits: fresh answers given.
        misses: look-ups that found none.
        stale_hits: answers past their time to live, given on request; neither hits nor misses.
        unpriced_hits: answers whose saving is unknown, because their price was.
        expired: entries whose time was over.
        refused: answers too large to be stored.
        failures: operations that the cache's server failed, as far as they have been reported.
        saved_nanos: what the answers given had cost, in billionths of a dollar.
        max_bytes: the limit that the asking process has.
    """

    hits: int = 0
    misses: int = 0
    stale_hits: int = 0
    unpriced_hits: int = 0
    stores: int = 0
    evictions: int = 0
    expired: int = 0
    refused: int = 0
    integrity_failures: int = 0
    failures: int = 0
    saved_nanos: int = 0
    entries: int = 0
    bytes: int = 0
    max_bytes: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Share of hits in all look-ups; `None` before the first one."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None

    @property
    def saved_usd(self) -> float:
        return usd(self.saved_nanos)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "hit_rate": self.hit_rate, "saved_usd": self.saved_usd}


@dataclass(frozen=True)
class Inspection:
    """What is known of one entry.

    Args:
        bytes: as stored.
        document_bytes: unpacked.
        document: the answer itself, if it was asked for.
    """

    key: str
    created_at: float
    fresh_until: float
    kept_until: float
    age_seconds: float
    stale: bool
    cost_nanos: int | None
    tags: Mapping[str, str]
    bytes: int
    document_bytes: int
    document: Any = None
