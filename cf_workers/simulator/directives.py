"""What does the text of a request itself tell the stand-in to do?

    [[sim latency=0.5]]                 answer after half a second
    [[sim ttft=0.1 latency=2]]          first byte of a stream after 0.1 s
    [[sim tokens=200]]                  a reply of about 200 tokens
    [[sim fail=529 times=2]]            the first two requests like this one fail, then it succeeds
    [[sim fail=429 retry_after=1]]      always fails (no `times`); any name that a fault has may stand for 529
    [[sim fail=expired]]                in a batch: the row's outcome

Obeyed in the last user turn only, and only where the configuration switches directives on.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace

from cf_workers.errors import ConfigError
from cf_workers.simulator.ask import Ask
from cf_workers.simulator.faults import Fault, fault_named
from cf_workers.simulator.problem import invalid

_DIRECTIVE = re.compile(r"\[\[sim\s+([^\]]*)\]\]")
_WORD = re.compile(r"(\w+)=(\S+)")


@dataclass(frozen=True)
class Directive:
    """All directives of one request together; `None` leaves a setting to the configuration.

    Args:
        latency: seconds to the last byte.
        ttft: seconds to the first byte of a stream.
        tokens: length of the reply.
        fail: the fault to answer with.
        times: how many equal requests fail; `None` means all.
    """

    latency: float | None = None
    ttft: float | None = None
    tokens: int | None = None
    fail: Fault | None = None
    times: int | None = None


@dataclass
class DirectiveCounts:
    """How often each request was failed by its own directive."""

    _failed: Counter[str] = field(default_factory=Counter)

    def fault(self, ask: Ask, directive: Directive) -> Fault | None:
        """The fault this request asked for, unless it had it often enough."""
        if directive.fail is None:
            return None
        if directive.times is not None and self._failed[ask.digest] >= directive.times:
            return None
        self._failed[ask.digest] += 1
        return directive.fail

    def clear(self) -> None:
        self._failed.clear()


def directive_in(text: str) -> Directive:
    """What a text tells the stand-in to do.

    Raises:
        ApiProblem: a directive is misspelt; silence would spoil a benchmark.
    """
    if "[[sim" not in text:
        return Directive()
    words: dict[str, str] = {}
    for found in _DIRECTIVE.findall(text):
        words |= dict(_WORD.findall(found))
    try:
        return _read(words)
    except (ValueError, ConfigError) as error:
        raise invalid(f"[[sim ...]]: {error}") from None


def without_directives(text: str) -> str:
    """The text as a reply may quote it: a quoted directive would command the next step."""
    return _DIRECTIVE.sub("", text).strip()


def _read(words: dict[str, str]) -> Directive:
    unknown = set(words) - {"latency", "ttft", "tokens", "fail", "times", "retry_after"}
    if unknown:
        raise ValueError(f"unknown word {sorted(unknown)[0]!r}")
    fault = fault_named(words["fail"]) if "fail" in words else None
    if fault and "retry_after" in words:
        fault = replace(fault, retry_after=float(words["retry_after"]))
    return Directive(
        latency=float(words["latency"]) if "latency" in words else None,
        ttft=float(words["ttft"]) if "ttft" in words else None,
        tokens=int(words["tokens"]) if "tokens" in words else None,
        fail=fault,
        times=int(words["times"]) if "times" in words else None,
    )
