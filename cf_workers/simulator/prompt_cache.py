"""How much of a prompt was read from, and written to, the provider's prompt cache?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cf_workers.clock import Clock
from cf_workers.simulator.problem import invalid
from cf_workers.wire import canonical_json

CHARACTERS_PER_TOKEN = 4
LOOKBACK = 20
"""Blocks a breakpoint looks back for an entry (platform documentation, prompt caching)."""
MAX_BREAKPOINTS = 4
TTL_SECONDS = {"5m": 300.0, "1h": 3600.0}
SWEEP_ABOVE = 10_000


@dataclass(frozen=True)
class Block:
    """One cacheable piece of a prompt: a tool, a system or a content block; `ttl` marks a breakpoint."""

    text: str
    tokens: int
    ttl: str | None = None


@dataclass(frozen=True)
class PromptUsage:
    """Input tokens of one request, by what the cache did with them."""

    uncached: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def written(self) -> int:
        return self.written_5m + self.written_1h

    @property
    def total(self) -> int:
        return self.uncached + self.read + self.written


@dataclass(frozen=True)
class CachePlan:
    """What a request is billed for, and the entries its reply makes readable: key and seconds to live."""

    usage: PromptUsage
    entries: tuple[tuple[str, float], ...] = ()


@dataclass
class PromptCache:
    """Entries by prefix; readable only once the reply that wrote them has begun."""

    clock: Clock
    _expiry: dict[str, tuple[float, float]] = field(default_factory=dict)

    def plan(self, scope: str, minimum: int, blocks: Sequence[Block]) -> CachePlan:
        """What this prompt reads and writes, as of now.

        Args:
            scope: what separates caches: the credential and the model.
            minimum: shortest cacheable prefix, in tokens.
        """
        breakpoints = [index for index, block in enumerate(blocks) if block.ttl]
        total = sum(block.tokens for block in blocks)
        if not breakpoints:
            return CachePlan(PromptUsage(total))
        keys, lengths = _prefixes(scope, blocks)
        read = self._longest_readable(breakpoints, keys)
        covered = lengths[read] if read is not None else 0
        entries = [(keys[read], self._expiry[keys[read]][1])] if read is not None else []
        written = {"5m": 0, "1h": 0}
        end = covered
        for index in breakpoints:
            ttl = blocks[index].ttl or "5m"
            if lengths[index] > end and lengths[index] >= minimum:
                written[ttl] += lengths[index] - end
                end = lengths[index]
                entries.append((keys[index], TTL_SECONDS[ttl]))
        return CachePlan(PromptUsage(total - end, covered, written["5m"], written["1h"]), tuple(entries))

    def begin(self, plan: CachePlan) -> None:
        """The reply has begun: its entries are readable from now on, and those it read live anew."""
        now = self.clock.now()
        for key, seconds in plan.entries:
            self._expiry[key] = (now + seconds, seconds)
        if len(self._expiry) > SWEEP_ABOVE:
            self._expiry = {key: entry for key, entry in self._expiry.items() if entry[0] > now}

    def clear(self) -> None:
        self._expiry.clear()

    def _longest_readable(self, breakpoints: Sequence[int], keys: Sequence[str]) -> int | None:
        now = self.clock.now()
        for index in reversed(breakpoints):
            for position in range(index, max(-1, index - LOOKBACK), -1):
                if self._expiry.get(keys[position], (0.0, 0.0))[0] > now:
                    return position
        return None


def blocks_of(body: Mapping[str, Any]) -> list[Block]:
    """A request's prompt in the order in which prefixes are matched: tools, system, messages.

    Raises:
        ApiProblem: too many breakpoints, an unknown TTL, or a longer TTL after a shorter one.
    """
    blocks = [_block("tool", tool) for tool in _listed(body.get("tools"))]
    blocks += [_block("system", part) for part in _listed(body.get("system"))]
    for message in _listed(body.get("messages")):
        blocks += [_block(str(message.get("role")), part) for part in _listed(message.get("content"))]
    automatic = body.get("cache_control")
    if automatic and blocks:
        last = blocks[-1]
        blocks[-1] = Block(last.text, last.tokens, last.ttl or _ttl(automatic))
    _check(blocks)
    return blocks


def tokens_in(text: str) -> int:
    """The stand-in's estimate: a token for each four characters begun."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _prefixes(scope: str, blocks: Sequence[Block]) -> tuple[list[str], list[int]]:
    """For each block: the key of the prefix that ends with it, and that prefix's length in tokens."""
    running = hashlib.sha256(scope.encode())
    keys, lengths, length = [], [], 0
    for block in blocks:
        running.update(b"\0" + block.text.encode())
        length += block.tokens
        keys.append(running.hexdigest())
        lengths.append(length)
    return keys, lengths


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _block(role: str, part: Mapping[str, Any]) -> Block:
    control = part.get("cache_control")
    ttl = _ttl(control) if control else None
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        return Block(f"{role}:{part['text']}", tokens_in(part["text"]), ttl)
    text = canonical_json({key: value for key, value in part.items() if key != "cache_control"})
    return Block(f"{role}:{text}", tokens_in(text), ttl)


def _ttl(control: Any) -> str:
    ttl = (
        control.get("ttl") or "5m"
        if isinstance(control, dict) and control.get("type") == "ephemeral"
        else None
    )
    if ttl not in TTL_SECONDS:
        raise invalid("cache_control: Input should be {'type': 'ephemeral'} with a ttl of '5m' or '1h'")
    return str(ttl)


def _check(blocks: Sequence[Block]) -> None:
    ttls = [block.ttl for block in blocks if block.ttl]
    if len(ttls) > MAX_BREAKPOINTS:
        raise invalid(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(ttls)}."
        )
    if "5m" in ttls and "1h" in ttls[ttls.index("5m") :]:
        raise invalid("cache_control: a ttl='1h' block must not come after a ttl='5m' block")
