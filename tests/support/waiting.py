"""How does a test wait for something another thread or process does?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    predicate: Callable[[], T],
    what: str,
    *,
    timeout: float = 60.0,
    every: float = 0.02,
    hint: Callable[[], str] = str,
) -> T:
    """The first true value of `predicate`.

    Args:
        what: what is waited for, as it reads after "waited 10 s for".
        timeout: seconds until the test fails.
        every: seconds between two looks.
        hint: what else to tell when it has not come.

    Raises:
        AssertionError: the predicate stayed false.
    """
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}; last seen: {value!r}\n{hint()}".rstrip())
        time.sleep(every)
    return value


def let_pass(seconds: float) -> None:
    """Wait, so that something would have had the time to happen that must not."""
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= end, f"{seconds:g} s to pass", timeout=seconds + 60)
