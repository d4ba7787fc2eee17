"""How many calls may be in flight in the whole fleet?

Additive increase, multiplicative decrease (`scripts/window.lua`), as TCP does: the window starts at the cap,
a 429 or 529 halves it at most once a round trip, and answered calls widen it again.
https://www.rfc-editor.org/rfc/rfc5681
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WindowPolicy:
    """Bounds of the window.

    Args:
        cap: calls in flight at most, fleet-wide; `None` leaves it open until the provider objects.
        least: no cut goes below it, unless the cap is lower; else single failures would throttle a fleet.
        lease_seconds: a call in flight counts for so long after it was admitted or renewed.
    """

    cap: int | None = None
    least: int = 8
    lease_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"the cap on calls in flight must be at least 1, not {self.cap!r}")
        if self.least < 1 or self.lease_seconds <= 0:
            raise ValueError("the least window must be at least 1, and the lease above 0 s")

    def for_lua(self) -> dict[str, float]:
        window: dict[str, float] = {"least": self.least}
        return window if self.cap is None else {**window, "cap": self.cap}
