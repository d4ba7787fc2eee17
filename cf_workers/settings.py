"""Which setting is in force? A flag beats the environment, that the project file, that the default.

Every setting is `CF_WORKERS_<FIELD>` or `CF_WORKERS_<SECTION>__<FIELD>` in the environment. Sections become
the policies of the parts they rule; no part sees this module's object.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from cf_workers.agents.models import DEFAULT_MODEL
from cf_workers.batches import API_MAX_BYTES, API_MAX_QUEUED_ROWS, API_MAX_ROWS, BatchPolicy
from cf_workers.budgets import BudgetPolicy
from cf_workers.cache import CachePolicy
from cf_workers.errors import ConfigError
from cf_workers.money import NANOS
from cf_workers.prefixes import WarmingPolicy
from cf_workers.project import Project
from cf_workers.project.problems import nearest
from cf_workers.reliability import ReliabilityPolicy
from cf_workers.resilience import BreakerPolicy, FairnessPolicy, GuardPolicy, LimitsPolicy, WindowPolicy
from cf_workers.wire import BATCH, CONTROL
from cf_workers.workflows.dead_letters import DeadLetterPolicy
from cf_workers.workflows.liveness import LivenessPolicy
from cf_workers.workflows.reconciler import ReconcilerPolicy
from cf_workers.workflows.record import RecordPolicy

PREFIX = "CF_WORKERS_"
DEFAULT_NAMESPACE = "cfw"
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


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


def load_settings(
    project: Project | None = None, environ: Mapping[str, str] | None = None, **flags: Any
) -> Settings:
    """The settings in force.

    Args:
        project: its `performance` section stands between the environment and the defaults.
        environ: where the fall-backs `REDIS_URL` and `CELERY_BROKER_URL` are looked for; the process's own if
            not given.
        flags: what the caller was given; `None` values count as not given.

    Raises:
        ConfigError: values cannot be used; all of them are named.
    """
    below = below_environment(project, os.environ if environ is None else environ)

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=below))

    try:
        return Sourced(**{name: value for name, value in flags.items() if value is not None})
    except (ValidationError, SettingsError) as error:
        raise _unusable(error) from None


def below_environment(project: Project | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """What stands between our own variables and the defaults: the usual variables, and the project file."""
    below: dict[str, Any] = {"cache": {"endpoint": environ.get("ANTHROPIC_BASE_URL", "")}}
    if environ.get("REDIS_URL"):
        below["redis_url"] = environ["REDIS_URL"]
    if environ.get("CELERY_BROKER_URL"):
        below["broker_url"] = environ["CELERY_BROKER_URL"]
    if project is not None:
        section = project.performance
        wanted = section.declared & {"timeout_seconds", "max_retries"}
        below["agents"] = {name: getattr(section, name) for name in wanted}
        if section.max_concurrent_agents is not None:
            below["limits"] = {"max_concurrent_agents": section.max_concurrent_agents}
        # whether it is on at all is asked of the project whenever a task runs: a flip needs no restart
        declared = project.cache.declared - {"enabled"}
        below["cache"] |= {name: getattr(project.cache, name) for name in declared}
    return below


def _unusable(error: ValidationError | SettingsError) -> ConfigError:
    """The error without the values: one of them may be a URL with a password."""
    if isinstance(error, SettingsError):
        return ConfigError(f"a {PREFIX}* variable cannot be read: {error}")
    wrong = [_said(one["loc"], one) for one in error.errors(include_input=False, include_url=False)]
    return ConfigError("; ".join(wrong), {"hint": "correct or unset what is named", "problems": wrong})


def _said(place: tuple[int | str, ...], one: Mapping[str, Any]) -> str:
    """What is wrong with one variable; a mistyped one with what was meant."""
    name = f"{PREFIX}{'__'.join(str(part).upper() for part in place)}"
    if one["type"] != "extra_forbidden":
        return f"{name}: {str(one['msg']).removeprefix('Value error, ')}"
    section = Settings.model_fields[str(place[0])].annotation
    known = list(getattr(section, "model_fields", ()))
    meant = nearest(str(place[-1]), known)
    if meant is None or len(place) != 2:  # noqa: PLR2004 - a section and its field
        return f"{name}: is not a setting"
    return f"{name}: is not a setting; did you mean {PREFIX}{str(place[0]).upper()}__{meant.upper()}?"
