"""What has this process asked the provider for, and what came of it?"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
_MOST_MODELS = 50


class CallMeter:
    """Counts the calls of one process, by model and by what came of them.

    Args:
        registry: where its metrics are found.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._models: set[str] = set()
        self._seconds = Histogram(
            "cf_workers_worker_call_seconds",
            "Seconds that calls of this worker took, by what came of them.",
            ["model", "outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "cf_workers_worker_tokens",
            "Tokens of calls of this worker that were answered.",
            ["model", "kind"],
            registry=registry,
        )
        self._cost = Counter(
            "cf_workers_worker_cost_usd",
            "US dollars that answered calls of this worker cost, as far as their prices are known.",
            ["model"],
            registry=registry,
        )

    def ended(self, model: str, outcome: str, seconds: float) -> None:
        """Count a call.

        Args:
            outcome: `answered`, or the name of an error of ours.
        """
        self._seconds.labels(self._known(model), outcome).observe(seconds)

    def used(self, model: str, *, cost_usd: float | None, **tokens: int) -> None:
        """Count what an answered call used.

        Args:
            tokens: by kind: `input`, `cache_read`, `cache_creation`, `output`.
        """
        label = self._known(model)
        for kind, number in tokens.items():
            self._tokens.labels(label, kind).inc(number)
        if cost_usd is not None:
            self._cost.labels(label).inc(cost_usd)

    def _known(self, model: str) -> str:
        """The model as a label: whoever sends many names of models gets no more labels by that."""
        if model not in self._models:
            if len(self._models) >= _MOST_MODELS:
                return "other"
            self._models.add(model)
        return model
