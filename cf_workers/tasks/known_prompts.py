"""What has this process seen of the prompts that the provider may keep in its cache?"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cf_workers.agents.definition import AgentCall

_WARM_SECONDS = 240.0
"""An entry of the prompt cache lives for five minutes after its last use.
https://platform.claude.com/docs/en/build-with-claude/prompt-caching"""
_MOST_KNOWN = 512


class Prompt(NamedTuple):
    """What calls of one agent begin with, and the provider may keep for each model."""

    model: str
    text: str
    contract: str | None


def prompt_of(call: AgentCall) -> Prompt:
    """What the call begins with."""
    return Prompt(call.model, call.agent.text, call.agent.contract)


@dataclass
class _Known:
    used_at: float = float("-inf")
    settled_until: float = float("-inf")


class KnownPrompts:
    """The prompts used last, and what is known of each; from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[Prompt, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def used(self, prompt: Prompt) -> None:
        """The provider has it now: a call has written or read it."""
        with self._lock:
            self._of(prompt).used_at = self._clock()

    def unused(self, prompt: Prompt) -> None:
        """The provider has it not: a call has neither written nor read it."""
        with self._lock:
            self._of(prompt).used_at = float("-inf")

    def is_warm(self, prompt: Prompt) -> bool:
        """Whether the provider still has it, where reading is free of the limits on input."""
        with self._lock:
            found = self._known.get(prompt)
        return found is not None and self._clock() - found.used_at < _WARM_SECONDS

    def settle(self, prompt: Prompt, seconds: float) -> None:
        """For so long the fleet need neither be asked about it nor told."""
        with self._lock:
            self._of(prompt).settled_until = self._clock() + seconds

    def is_settled(self, prompt: Prompt) -> bool:
        """Whether the fleet was asked or told a short while ago."""
        with self._lock:
            found = self._known.get(prompt)
        return found is not None and self._clock() < found.settled_until

    def _of(self, prompt: Prompt) -> _Known:
        found = self._known.setdefault(prompt, _Known())
        self._known.move_to_end(prompt)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return found
