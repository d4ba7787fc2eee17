"""When is it worth to let one call go first?"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WarmingPolicy:
    """One call writes a shared prefix; those that come meanwhile wait until its reply has begun.

    Args:
        enabled: whether any call waits for another one's prefix.
        least_saving_nanos: what a call that waits must save by reading instead of writing, in billionths of
            a dollar; below that the wait is not worth it.
        ttl_seconds: how long a prefix counts as readable after its last use; the provider keeps it for five
            minutes (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
        longest_wait_seconds: for the first reply to begin; after that another call goes first.
        longest_seat_seconds: as much of it as a call may spend in a slot that nobody else wants.
    """

    enabled: bool = True
    least_saving_nanos: int = 1_000_000
    ttl_seconds: float = 270.0
    longest_wait_seconds: float = 10.0
    longest_seat_seconds: float = 5.0
