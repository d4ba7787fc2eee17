"""What can be set, within which bounds, and what if nobody sets it?"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from cf_workers.agents.models import DEFAULT_MODEL
from cf_workers.batches import API_MAX_BYTES, API_MAX_QUEUED_ROWS, API_MAX_ROWS


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AgentSettings(_Section):
    """What an agent runs with unless it, its step or the caller says otherwise.

    Args:
        model: a model's id, or `auto`.
        max_tokens: bound on an answer.
        timeout_seconds: bound on one attempt.
        max_retries: further requests after the first.
    """

    model: str = DEFAULT_MODEL
    max_tokens: int = Field(4096, ge=1)
    timeout_seconds: float = Field(120.0, gt=0)
    max_retries: int = Field(3, ge=0)


class RetrySettings(_Section):
    """Waits between attempts: exponential with full jitter.

    Args:
        backoff_seconds: bound of the wait before the first further attempt; it doubles with each.
        backoff_max_seconds: bound of the growth.
        jitter: off: the bound itself is waited, not a random part of it.
    """

    backoff_seconds: float = Field(1.0, ge=0)
    backoff_max_seconds: float = Field(60.0, ge=0)
    jitter: bool = True


class WorkerSettings(_Section):
    """One worker process.

    Args:
        concurrency: slots, of which each makes one call at a time; the same as `--concurrency`.
        shards: connection pools of the API client; chosen by the number of slots if not given.
        heartbeat_seconds: between two signs of life.
        lease_seconds: a worker that was not heard of for so long is dead, and its steps are taken over.
        max_deaths: workers that may die under a step before it becomes a dead letter.
        visibility_timeout_seconds: how long Redis as a broker waits before it delivers a message again that
            no living worker holds.
        interactive_share: of the slots, left free of batch work.
        control_slots: on top of the others, for what keeps runs going.
        heartbeat_file: touched while the worker is alive, for a liveness probe.
    """

    concurrency: int = Field(100, ge=1)
    shards: int | None = Field(None, ge=1)
    heartbeat_seconds: float = Field(2.0, gt=0)
    lease_seconds: float = Field(8.0, gt=0)
    max_deaths: int = Field(3, ge=1)
    visibility_timeout_seconds: float = Field(60.0, ge=5)
    interactive_share: float = Field(0.1, ge=0, lt=1)
    control_slots: int = Field(2, ge=0)
    heartbeat_file: Path | None = None


class HealthSettings(_Section):
    """What a worker says of itself over HTTP, and from when work counts as stuck.

    Args:
        port: of `/healthz`, `/readyz` and `/metrics`; nothing listens if not given.
        host: address to listen on.
        queue_age_seconds: not ready when the oldest message of a queue waits for longer.
    """

    port: int | None = Field(None, ge=0, le=65_535)
    host: str = "127.0.0.1"
    queue_age_seconds: float = Field(300.0, gt=0)


class LimitSettings(_Section):
    """What the fleet may use per minute, and at once; the rest is learnt from the provider's answers.

    Args:
        requests_per_minute: of the whole fleet; learnt from the provider's headers if not given.
        output_tokens_per_minute: likewise.
        max_concurrent_agents: most calls in flight in the whole fleet; adaptive if not given.
    """

    requests_per_minute: float | None = Field(None, gt=0)
    input_tokens_per_minute: float | None = Field(None, gt=0)
    output_tokens_per_minute: float | None = Field(None, gt=0)
    burst_seconds: float = Field(5.0, gt=0)
    max_concurrent_agents: int | None = Field(None, ge=1)
    weights: dict[str, float] = {}


class BreakerSettings(_Section):
    """The circuit breaker of each credential and class of models."""

    window_seconds: float = Field(30.0, gt=0)
    minimum_calls: int = Field(20, ge=1)
    failure_rate: float = Field(0.5, gt=0, le=1)
    consecutive_failures: int = Field(10, ge=1)
    cooldown_seconds: float = Field(5.0, gt=0)
    longest_cooldown_seconds: float = Field(30.0, gt=0)
    probes: int = Field(3, ge=1)


class CacheSettings(_Section):
    """The response cache.

    Args:
        ttl_hours: how long an answer is given again.
        stale_hours: how much longer it is given while the breaker is open.
        max_size_mb: of all answers together.
        exclude_agents: whose answers are never kept.
        short_cut: a producer answers a known call itself, without a worker.
        endpoint: whose answers these are; `ANTHROPIC_BASE_URL` if not given. Processes that agree on it share
            answers.
    """

    enabled: bool = True
    ttl_hours: float = Field(24.0, gt=0)
    stale_hours: float = Field(24.0, ge=0)
    max_size_mb: float = Field(100.0, gt=0)
    exclude_agents: tuple[str, ...] = ()
    shards: int = Field(1, ge=1)
    timeout_seconds: float = Field(0.25, gt=0)
    lease_seconds: float = Field(10.0, gt=0)
    short_cut: bool = True
    endpoint: str = Field("", repr=False)


class BatchSettings(_Section):
    """The batch lane; see `BatchPolicy` for what each means."""

    enabled: bool = True
    linger_seconds: float = Field(60.0, ge=0)
    max_rows: int = Field(10_000, ge=1, le=API_MAX_ROWS)
    max_bytes: int = Field(64_000_000, ge=10_000, le=API_MAX_BYTES)
    max_queued_rows: int = Field(API_MAX_QUEUED_ROWS, ge=1)
    poll_seconds: float = Field(30.0, gt=0)
    max_sends: int = Field(3, ge=1)
    auto_slack_seconds: float = Field(3600.0, gt=0)
    rescue_margin_seconds: float = Field(60.0, ge=0)
    relook_seconds: float = Field(3600.0, gt=0)
    shared_prefix_rows: int = Field(10, ge=1)
    submit_timeout_seconds: float = Field(300.0, gt=0)
    settle_seconds: float = Field(60.0, ge=0)
    skew_seconds: float = Field(60.0, ge=0)
    busy_seconds: float = Field(15.0, gt=0)


class BudgetSettings(_Section):
    """Budgets in US dollars that stand beside those of the project, and win over them.

    Args:
        namespace_usd: for everything.
        day_usd: for everything, each day in UTC.
        run_usd: for each run that is given none of its own.
    """

    namespace_usd: float | None = Field(None, ge=0)
    day_usd: float | None = Field(None, ge=0)
    run_usd: float | None = Field(None, ge=0)
    recheck_seconds: float = Field(30.0, gt=0)


class PromptCacheSettings(_Section):
    """The provider's prompt cache: of calls with one long prefix, one goes first and the others read it.

    Args:
        warm_first: whether calls wait for each other so.
        least_saving_usd: what a call that waits must save by it.
        longest_wait_seconds: for the first reply to begin.
    """

    warm_first: bool = True
    least_saving_usd: float = Field(0.001, ge=0)
    longest_wait_seconds: float = Field(10.0, gt=0)


class RunSettings(_Section):
    """Run records.

    Args:
        patience_seconds: how long something ready may lie untouched before it is sent again.
        reconcile_seconds: between two looks at whole runs.
    """

    retention_seconds: float = Field(7 * 86_400.0, gt=0)
    active_seconds: float = Field(30 * 86_400.0, gt=0)
    patience_seconds: float = Field(5.0, gt=0)
    reconcile_seconds: float = Field(5.0, gt=0)
