"""How long does the provider take, and what does it cost? Measured where nothing but the provider is."""

from __future__ import annotations

import time
from typing import Protocol

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall
from cf_workers.agents.prices import cost_usd
from cf_workers.answers import Answer
from cf_workers.errors import CfWorkersError
from cf_workers.tasks.answering import Answering, Caller


class Meter(Protocol):
    """Whoever counts calls."""

    def ended(self, model: str, outcome: str, seconds: float) -> None:
        """Count a call."""
        ...

    def used(self, model: str, *, cost_usd: float | None, **tokens: int) -> None:
        """Count what an answered call used."""
        ...


class Metered:
    """Counts what reaches the provider."""

    def __init__(self, inner: Answering, meter: Meter) -> None:
        self._inner = inner
        self._meter = meter

    def ask(self, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Answer one call.

        Raises:
            ExecutionError: there is no usable reply.
        """
        began = time.monotonic()
        try:
            answer = self._inner.ask(call, caller, token)
        except CfWorkersError as error:
            self._meter.ended(call.model, type(error).__name__, time.monotonic() - began)
            raise
        self._meter.ended(call.model, "answered", time.monotonic() - began)
        usage = answer.reply.usage
        cost = cost_usd(answer.reply.model, usage)
        self._meter.used(
            call.model,
            cost_usd=None if cost is None else float(cost),
            input=usage.input_tokens,
            cache_read=usage.cache_read_input_tokens,
            cache_creation=usage.cache_creation_input_tokens,
            output=usage.output_tokens,
        )
        return answer
