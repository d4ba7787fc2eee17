"""What is an agent, what is one call to it, and what comes back?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from cf_workers.wire import canonical_json


class AgentDefinition(BaseModel):
    """An agent as its project declares it: the text sent to the model, and its settings.

    `text` and `contract` are whole files, sent unchanged. A `None` setting means "the default of whoever runs
    it".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    text: str
    contract: str | None = None
    domains: tuple[str, ...] = ()
    priority: int = 3
    model: str | None = None
    max_tokens: int | None = None
    effort: str | None = None
    cacheable: bool | None = None
    timeout_seconds: float | None = None
    max_retries: int | None = None
    output_schema: dict[str, Any] | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything in this definition, in hexadecimal; equal definitions have equal digests."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()


@dataclass(frozen=True)
class DependencyOutput:
    """What a finished step hands to a dependent one."""

    step: str
    agent: str
    output: str


@dataclass(frozen=True)
class AgentCall:
    """One request to a model, complete: two equal calls may share one answer.

    Args:
        task: what is asked of the agent, untrusted text.
        outputs: results of the steps this one depends on, in declared order; untrusted text as well.
        model: the id of a model.
        max_tokens: upper bound of the reply, in tokens.
        timeout_seconds: bound on one attempt, from sending it to the last byte of the reply.
    """

    agent: AgentDefinition
    task: str
    model: str
    max_tokens: int
    timeout_seconds: float
    outputs: tuple[DependencyOutput, ...] = ()


class Usage(BaseModel):
    """Tokens of one reply, as the provider reports them (`usage` of the Messages API).

    `input_tokens` is only what was neither written to nor read from the prompt cache.

    Args:
        service_tier: `standard`, `priority` or `batch`; `None` where the provider does not say.
        speed: `fast` costs more; `None` is the standard one.
        inference_geo: where the model ran, which may cost more.
        web_search_requests: searches that the provider made for the reply, billed one by one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_5m_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    web_search_requests: int = 0
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None

    def __add__(self, other: Usage) -> Usage:
        """Both together; tier, speed and place are those of the later one, `other`."""
        words = ("service_tier", "speed", "inference_geo")
        counts = {
            name: getattr(self, name) + getattr(other, name)
            for name in type(self).model_fields
            if name not in words
        }
        return Usage(**counts, **{name: getattr(other, name) or getattr(self, name) for name in words})

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt: uncached, written and read."""
        return self.input_tokens + self.cache_creation_input_tokens + self.cache_read_input_tokens


@dataclass(frozen=True)
class AgentReply:
    """What the model answered to one call.

    Args:
        output: the text blocks of the reply, joined.
        stop_reason: the provider's word, for example `end_turn` or `max_tokens`.
        rate_limits: the `anthropic-ratelimit-*` headers of the reply, names without that prefix.
    """

    output: str
    model: str
    usage: Usage
    stop_reason: str
    request_id: str | None = None
    rate_limits: Mapping[str, str] = field(default_factory=dict)

    @property
    def truncated(self) -> bool:
        """Whether the model had to stop before it was done."""
        return self.stop_reason in {"max_tokens", "model_context_window_exceeded"}

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "usage": self.usage.model_dump()}
