"""How is one reading spelt as a family of metrics?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Sample = tuple[Sequence[str], float]
PREFIX = "cf_workers_"


def gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, says, value=value)


def counter(name: str, says: str, value: float) -> Metric:
    """The name is given without `_total`, which is added."""
    return CounterMetricFamily(PREFIX + name, says, value=value)


def gauges(name: str, says: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    return _filled(GaugeMetricFamily(PREFIX + name, says, labels=labels), samples)


def counters(name: str, says: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    return _filled(CounterMetricFamily(PREFIX + name, says, labels=labels), samples)


def largest(sums: Mapping[str, float], most: int) -> dict[str, float]:
    """At most so many entries, the largest ones; all others together are `other`."""
    ranked = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ranked[:most])
    if rest := ranked[most:]:
        kept["other"] = kept.get("other", 0.0) + sum(value for _, value in rest)
    return kept


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, samples: Iterable[Sample]
) -> GaugeMetricFamily | CounterMetricFamily:
    for labels, value in samples:
        family.add_metric([*labels], value)
    return family
