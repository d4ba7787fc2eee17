"""Which settings does a process have, and which policies do they become?"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cf_workers.batches import BatchPolicy
from cf_workers.budgets import BudgetPolicy
from cf_workers.cache import CachePolicy
from cf_workers.money import NANOS
from cf_workers.prefixes import WarmingPolicy
from cf_workers.reliability import ReliabilityPolicy
from cf_workers.resilience import BreakerPolicy, FairnessPolicy, GuardPolicy, LimitsPolicy, WindowPolicy
from cf_workers.settings.sections import (
    AgentSettings,
    BatchSettings,
    BreakerSettings,
    BudgetSettings,
    CacheSettings,
    HealthSettings,
    LimitSettings,
    PromptCacheSettings,
    RetrySettings,
    RunSettings,
    WorkerSettings,
)
from cf_workers.wire import BATCH, CONTROL
from cf_workers.workflows.dead_letters import DeadLetterPolicy
from cf_workers.workflows.liveness import LivenessPolicy
from cf_workers.workflows.reconciler import ReconcilerPolicy
from cf_workers.workflows.steps import RecordPolicy

PREFIX = "CF_WORKERS_"
DEFAULT_NAMESPACE = "cfw"
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


class Settings(BaseSettings):
    """All settings of a process.

    Args:
        redis_url: state and results, and messages unless `broker_url` says otherwise; without one an embedded
            Valkey is used.
        broker_url: where messages go: another Redis or a RabbitMQ.
        cache_url: a Redis for the response cache alone.
        config: path of the project's `claude.json`.
        namespace: begins all keys; fleets with different ones share a server without meeting.
        max_task_chars: longest task.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", env_ignore_empty=True
    )

    redis_url: str | None = Field(None, repr=False)
    broker_url: str | None = Field(None, repr=False)
    cache_url: str | None = Field(None, repr=False)
    config: str | None = None
    namespace: str = Field(DEFAULT_NAMESPACE, pattern=r"^[A-Za-z0-9_-]+$")
    max_task_chars: int = Field(100_000, ge=1)
    agents: AgentSettings = AgentSettings()
    retry: RetrySettings = RetrySettings()
    worker: WorkerSettings = WorkerSettings()
    runs: RunSettings = RunSettings()
    limits: LimitSettings = LimitSettings()
    breaker: BreakerSettings = BreakerSettings()
    cache: CacheSettings = CacheSettings()
    prompt_cache: PromptCacheSettings = PromptCacheSettings()
    health: HealthSettings = HealthSettings()
    batches: BatchSettings = BatchSettings()
    budgets: BudgetSettings = BudgetSettings()

    @field_validator("redis_url", "cache_url")
    @classmethod
    def _of_a_redis_server(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(_REDIS_SCHEMES):
            raise ValueError("is not the URL of a Redis server; write for example redis://localhost:6379/0")
        return url

    @field_validator("broker_url")
    @classmethod
    def _of_a_broker(cls, url: str | None) -> str | None:
        if url is not None and "://" not in url:
            raise ValueError("is not a URL; write for example amqp://localhost:5672//")
        return url

    @property
    def record_policy(self) -> RecordPolicy:
        return RecordPolicy(
            retention_seconds=self.runs.retention_seconds,
            active_seconds=self.runs.active_seconds,
            lease_seconds=self.worker.lease_seconds,
            max_deaths=self.worker.max_deaths,
        )

    @property
    def dead_letter_policy(self) -> DeadLetterPolicy:
        return DeadLetterPolicy(keep_seconds=self.runs.retention_seconds)

    @property
    def liveness_policy(self) -> LivenessPolicy:
        return LivenessPolicy(self.worker.heartbeat_seconds, self.worker.lease_seconds)

    @property
    def reliability_policy(self) -> ReliabilityPolicy:
        """Batch work leaves slots to interactive work; what keeps runs going has slots of its own."""
        worker = self.worker
        return ReliabilityPolicy(
            heartbeat_file=worker.heartbeat_file,
            reserves={BATCH: worker.interactive_share},
            spare={CONTROL: worker.control_slots},
        )

    @property
    def guard_policy(self) -> GuardPolicy:
        limits = self.limits
        return GuardPolicy(
            breaker=BreakerPolicy(**self.breaker.model_dump()),
            limits=LimitsPolicy(
                limits.requests_per_minute,
                limits.input_tokens_per_minute,
                limits.output_tokens_per_minute,
                limits.burst_seconds,
            ),
            # a dead worker's calls count as in flight for as long as its claims do
            window=WindowPolicy(cap=limits.max_concurrent_agents, lease_seconds=self.worker.lease_seconds),
            fairness=FairnessPolicy(weights=limits.weights),
        )

    @property
    def cache_policy(self) -> CachePolicy:
        cache = self.cache
        policy = CachePolicy.of_section(
            enabled=cache.enabled, ttl_hours=cache.ttl_hours, max_size_mb=cache.max_size_mb
        )
        return replace(
            policy,
            stale_seconds=cache.stale_hours * 3600.0,
            shards=cache.shards,
            timeout_seconds=cache.timeout_seconds,
            lease_seconds=cache.lease_seconds,
        )

    @property
    def batch_policy(self) -> BatchPolicy:
        return BatchPolicy(
            **self.batches.model_dump(),
            results_seconds=self.runs.retention_seconds,
            lease_seconds=self.worker.lease_seconds,
        )

    @property
    def budget_policy(self) -> BudgetPolicy:
        return BudgetPolicy(self.worker.lease_seconds, self.budgets.recheck_seconds)

    @property
    def warming_policy(self) -> WarmingPolicy:
        section = self.prompt_cache
        return WarmingPolicy(
            enabled=section.warm_first,
            least_saving_nanos=int(section.least_saving_usd * NANOS),
            longest_wait_seconds=section.longest_wait_seconds,
            longest_seat_seconds=section.longest_seat_seconds,
        )

    @property
    def answers_namespace(self) -> str:
        """Whose answers are shared: a stand-in's must never be given for the provider's."""
        return f"{self.namespace} {self.cache.endpoint.rstrip('/')}"

    @property
    def reconciler_policy(self) -> ReconcilerPolicy:
        return ReconcilerPolicy(
            patience_seconds=self.runs.patience_seconds, runs_every_seconds=self.runs.reconcile_seconds
        )
