"""What do the guards look like to a monitoring system? Labels are the scope and words of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import Metric

from cf_workers.metrics.families import Sample, counters, gauges
from cf_workers.resilience import ScopeStatus

_SCOPE = ("credential", "model_class")
_STATES = ("closed", "open", "half_open")


def guard_families(found: Sequence[ScopeStatus]) -> Iterator[Metric]:
    """The families of all scopes that were used within a day."""
    yield from _breakers(found)
    yield from _flights(found)
    yield from _limits(found)
    yield gauges(
        "waiting_calls",
        "Calls that were refused and wait for their turn, by the reason.",
        (*_SCOPE, "reason"),
        _by_word(found, lambda one: one.waiters.reasons.items()),
    )
    yield gauges(
        "waiting_calls_by_lane",
        "Calls that were refused and wait for their turn, by the queue they came by.",
        (*_SCOPE, "lane"),
        _by_word(found, lambda one: one.waiters.lanes.items()),
    )
    yield counters(
        "refusals",
        "Calls that were refused, by the reason.",
        (*_SCOPE, "reason"),
        _by_word(found, lambda one: one.refused.items()),
    )


def _breakers(found: Sequence[ScopeStatus]) -> Iterator[Metric]:
    yield gauges(
        "breaker_state",
        "1 for the state that the circuit breaker is in, 0 for the others.",
        (*_SCOPE, "state"),
        _by_word(found, lambda one: ((state, float(one.breaker.state == state)) for state in _STATES)),
    )
    yield counters(
        "breaker_changes",
        "Changes of the circuit breaker's state.",
        _SCOPE,
        _each(found, lambda one: one.breaker.changes),
    )
    yield gauges(
        "breaker_open_seconds",
        "Seconds until an open circuit breaker lets probes through.",
        _SCOPE,
        _each(found, lambda one: _ahead(one, one.breaker.until)),
    )
    yield gauges(
        "gate_closed_seconds",
        "Seconds for which the provider has asked to wait.",
        _SCOPE,
        _each(found, lambda one: _ahead(one, one.gate_until)),
    )
    yield gauges(
        "spend_stop_seconds",
        "Seconds until the provider's spend limit may be lifted.",
        _SCOPE,
        _each(found, lambda one: _ahead(one, one.stopped_until)),
    )


def _flights(found: Sequence[ScopeStatus]) -> Iterator[Metric]:
    yield gauges(
        "permits_in_flight", "Calls in flight.", _SCOPE, _each(found, lambda one: one.window.in_flight)
    )
    yield counters(
        "permits_lost", "Permits whose holder died.", _SCOPE, _each(found, lambda one: one.window.lost)
    )
    yield gauges(
        "permits_most",
        "Calls that may be in flight at once; no sample while that is unlimited.",
        _SCOPE,
        [(_scope(one), float(one.window.size)) for one in found if one.window.size is not None],
    )


def _limits(found: Sequence[ScopeStatus]) -> Iterator[Metric]:
    labels = (*_SCOPE, "kind")
    yield gauges(
        "limit_per_minute",
        "Requests or tokens that may be used a minute, configured or told by the provider.",
        labels,
        _by_word(found, lambda one: ((kind, bucket.per_minute) for kind, bucket in one.buckets.items())),
    )
    yield gauges(
        "limit_fill_ratio",
        "How full the token bucket is, from 0 to 1.",
        labels,
        _by_word(found, lambda one: ((kind, bucket.fill) for kind, bucket in one.buckets.items())),
    )


def _each(found: Sequence[ScopeStatus], value: Callable[[ScopeStatus], float]) -> list[Sample]:
    return [(_scope(one), float(value(one))) for one in found]


def _by_word(
    found: Sequence[ScopeStatus], values: Callable[[ScopeStatus], Iterable[tuple[str, float]]]
) -> list[Sample]:
    return [((*_scope(one), word), float(value)) for one in found for word, value in values(one)]


def _scope(one: ScopeStatus) -> tuple[str, str]:
    return one.scope.credential, one.scope.model_class


def _ahead(one: ScopeStatus, moment: float | None) -> float:
    return 0.0 if moment is None else max(0.0, moment - one.now)
