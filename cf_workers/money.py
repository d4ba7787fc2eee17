"""How is money counted? In billionths of a dollar, whole numbers, so that sums in the store stay exact."""

from __future__ import annotations

from typing import overload

NANOS = 1_000_000_000
"""Billionths of a dollar in a dollar."""


@overload
def usd(nanos: float) -> float: ...
@overload
def usd(nanos: float | None) -> float | None: ...
def usd(nanos: float | None) -> float | None:
    """The same in dollars; `None`, which is an unknown amount, stays so."""
    return None if nanos is None else nanos / NANOS
