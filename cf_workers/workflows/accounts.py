"""What was executed and spent on a day, and what do executions of an agent take?

The sums of a day are added in the same Lua call that commits a step, or gives it back after a failed attempt:
they count what the runs' own totals count, once, and all of them are whole numbers.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cf_workers._redis import Keys, RedisClient
from cf_workers.wire import canonical_json
from cf_workers.workflows.outcome import Outcome

_BATCH = "batch"


@dataclass(frozen=True)
class AccountsPolicy:
    """How long the sums and samples are kept.

    Args:
        daily_seconds: from the first execution of a day.
        samples_kept: of each agent and model, the latest.
        samples_seconds: after the last of them.
    """

    daily_seconds: int = 400 * 86_400
    samples_kept: int = 200
    samples_seconds: int = 90 * 86_400


@dataclass(frozen=True)
class DayRow:
    """What was done on a day for one workflow, by one agent, with one model.

    Args:
        workflow: empty for single executions.
        sums: by measure: `executions`, `succeeded`, `failed`, `cancelled`, `cached`, `unpriced`,
            `input_tokens`, `output_tokens`, `cost_nanos`, `saved_nanos`, `milliseconds`; absent is 0.
    """

    workflow: str
    agent: str
    model: str
    sums: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """What one execution took: tokens, seconds, and billionths of a dollar, if its price is known."""

    input_tokens: int
    output_tokens: int
    seconds: float
    cost_nanos: int | None
    batch: bool = False


class Accounts:
    """Reads the sums and the samples."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def day(self, date: str | None = None) -> list[DayRow]:
        """Everything executed on a day.

        Args:
            date: as `2026-11-21`, in UTC; today if not given.
        """
        rows: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
        for name, number in self._client.hgetall(self._keys.daily(date or today())).items():
            workflow, agent, model, measure = name.split("\t")
            rows[workflow, agent, model][measure] = int(number)
        return [DayRow(*key, sums) for key, sums in sorted(rows.items())]

    def samples(self, agent: str, model: str) -> list[Sample]:
        """What the latest executions of an agent with a model took, the newest first."""
        found = self._client.lrange(self._keys.samples(agent, model), 0, -1)
        return [_sample(json.loads(one)) for one in found]


def today() -> str:
    """The day in UTC by this machine's clock."""
    return time.strftime("%Y-%m-%d", time.gmtime(time.time()))


def account_of(outcome: Outcome | None) -> str:
    """Under which agent and model an outcome is counted; empty if nothing was executed."""
    if outcome is None or not outcome.result.get("model"):
        return ""
    return f"{outcome.result.get('agent', '')}\t{outcome.result['model']}"


def sums_of(outcome: Outcome | None, *, ended: bool) -> str:
    """What an outcome adds to the sums of its day, as JSON.

    Args:
        ended: false for an attempt that is followed by another: its tokens count, but no execution.
    """
    if outcome is None:
        return "{}"
    sums = {
        "input_tokens": outcome.input_tokens,
        "output_tokens": outcome.output_tokens,
        "cost_nanos": outcome.cost_nanos or 0,
        "unpriced": int(outcome.cost_nanos is None),
    }
    if ended:
        sums |= {
            "executions": 1,
            outcome.status: 1,
            "cached": int(bool(outcome.result.get("cached"))),
            "saved_nanos": outcome.saved_nanos,
            "milliseconds": round(outcome.result.get("execution_time_ms") or 0),
        }
    return canonical_json({measure: str(number) for measure, number in sums.items() if number})


def sample_of(outcome: Outcome) -> str:
    """What an execution teaches about those to come, as JSON; empty if nothing."""
    result = outcome.result
    if outcome.status != "succeeded" or result.get("cached") or not result.get("usage"):
        return ""
    sample: dict[str, Any] = {
        "i": outcome.input_tokens,
        "o": outcome.output_tokens,
        "ms": round(result.get("execution_time_ms") or 0),
        "c": outcome.cost_nanos,
    }
    if result["usage"].get("service_tier") == _BATCH:
        sample["b"] = 1
    return canonical_json(sample)


def sampled_under(outcome: Outcome) -> tuple[str, str]:
    """Agent and model under which a sample is kept: the model as plans name it."""
    return outcome.result.get("agent", ""), outcome.asked_model or outcome.result.get("model", "")


def _sample(raw: Mapping[str, Any]) -> Sample:
    return Sample(raw["i"], raw["o"], raw["ms"] / 1000, raw["c"], bool(raw.get("b")))
