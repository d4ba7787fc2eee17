"""With what does executing a step begin, and how may it and its run end?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Verdict = Literal[
    "run", "skip", "cancel", "lost", "done", "held", "waiting", "early", "over", "stale", "gone", "wire"
]
Ended = Literal["succeeded", "failed", "skipped", "cancelled"]
ENDED = frozenset(get_args(Ended))
"""States in which a step stays."""
FINAL = frozenset({"succeeded", "failed", "cancelled"})
"""Statuses in which a run stays."""


@dataclass(frozen=True)
class Claim:
    """The right to execute a step, valid while its fence is the newest and its lease is renewed.

    Args:
        attempts: requests that earlier claims made.
        dead: the workers that died under the step, the first twenty of them.
        outputs: those of the step's dependencies, in that order, if it sees them; `None` where one has none.
        probes: calls that found the provider still failing; they are not among the attempts.
    """

    run: str
    step: str
    fence: int
    attempts: int
    deaths: int
    verdict: Verdict
    outputs: tuple[str | None, ...] = ()
    probes: int = 0
    dead: tuple[str, ...] = ()

    @property
    def waiter(self) -> str:
        """Names the step, the same in each of its claims."""
        return f"{self.run}\t{self.step}"

    @property
    def member(self) -> str:
        """How the claim is listed among the claims of the fleet."""
        return f"{self.run}\t{self.step}\t{self.fence}"


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Args:
        attempts: calls made, those of earlier workers included.
        result: what is kept of it beside the output; JSON values.
        cost_nanos: billionths of a US dollar; `None` when the price is unknown.
        lost_calls: calls that may have been paid and whose answer nobody has.
        saved_nanos: what the cache spared.
        asked_model: the model as it was asked for, where the reply may name a snapshot of it.
    """

    status: Ended
    attempts: int
    result: Mapping[str, Any]
    output: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int | None = 0
    counts_against_run: bool = False
    lost_calls: int = 0
    saved_nanos: int = 0
    asked_model: str = ""


@dataclass(frozen=True)
class Committed:
    """What a commit left behind."""

    left: int
    running: int
    stopping: str
