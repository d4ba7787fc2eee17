"""What does the stand-in remember between requests?"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from collections.abc import Mapping
from typing import Any

from cf_workers.clock import Clock
from cf_workers.simulator.batches import BatchStore
from cf_workers.simulator.config import SimulatorConfig
from cf_workers.simulator.directives import DirectiveCounts
from cf_workers.simulator.faults import FaultPlan, ScriptedFault
from cf_workers.simulator.journal import Journal
from cf_workers.simulator.limits import RateLimiter
from cf_workers.simulator.models import catalogue
from cf_workers.simulator.prompt_cache import PromptCache


class SimulatorState:
    """Everything that requests share; touched by the server's one thread only."""

    def __init__(self, clock: Clock, config: SimulatorConfig) -> None:
        self.clock = clock
        self.config = config
        self._initial = config
        self._ids = 0
        self._let_go = asyncio.Event()
        self._begin(config)

    def reset(self) -> None:
        """As just started: the first configuration, an empty log, no script, cold caches, full buckets."""
        self._begin(self._initial)

    def reconfigure(self, changes: Mapping[str, Any]) -> None:
        """Change some fields of the configuration; log, script, prompt cache and batches stay.

        Raises:
            ConfigError: a field is unknown or its value cannot be used.
        """
        config = self.config.changed(changes)
        pending = self.faults.pending()
        self.config = config
        self._apply(config)
        self.faults.script(pending)

    def new_id(self, prefix: str) -> str:
        """An id that this process has not given out before."""
        self._ids += 1
        return f"{prefix}_sim_{self._ids:012d}"

    def latency(self) -> float:
        """Seconds that the next reply takes."""
        config = self.config
        if not config.latency_sigma or not config.latency:
            return config.latency
        drawn: float = self._random.lognormvariate(math.log(config.latency), config.latency_sigma)
        return drawn

    async def until_let_go(self) -> None:
        """Wait for as long as replies are held."""
        await self._let_go.wait()

    def _begin(self, config: SimulatorConfig) -> None:
        self.config = config
        self.journal = Journal(config.log_limit, config.body_bytes_limit)
        self.prompt_cache = PromptCache(self.clock)
        self.directives = DirectiveCounts()
        self.batches = BatchStore(self.clock)
        self._apply(config)

    def _apply(self, config: SimulatorConfig) -> None:
        self.models = catalogue(config.models)
        self.faults = FaultPlan(config.faults, config.seed)
        self.limits = RateLimiter(self.clock, config)
        self._random = random.Random(config.seed)  # noqa: S311 - a repeatable dice, not a secret
        (self._let_go.clear if config.hold else self._let_go.set)()

    def script(self, *faults: ScriptedFault) -> None:
        """Replace the script of faults."""
        self.faults.clear()
        self.faults.script(faults)


def credential_digest(key: str) -> str:
    """What the log shows of a key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]
