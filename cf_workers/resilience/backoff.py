"""How long does a failed call wait before its next attempt?"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class BackoffPolicy:
    """Exponential backoff with full jitter.

    Full jitter spreads retries best under contention:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        base_seconds: bound of the first wait; each further one doubles it.
        cap_seconds: bound of every wait, except where the provider asks for a longer one.
        jitter: whether a wait is drawn between nothing and its bound, or is the bound itself.
    """

    base_seconds: float = 1.0
    cap_seconds: float = 60.0
    jitter: bool = True


def wait_before(attempt: int, policy: BackoffPolicy, retry_after: float | None = None) -> float:
    """Seconds to wait before the request that follows the failed `attempt`.

    A `retry_after` is a lower bound: jitter is added to it, so that a fleet told to wait equally long does
    not come back as one.

    Args:
        attempt: the number of the request that failed, from 1.
        retry_after: seconds the provider asked for.
    """
    bound = min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(attempt - 1, 62))
    wait = random.uniform(0.0, bound) if policy.jitter else bound  # noqa: S311
    return wait if retry_after is None else retry_after + wait
