"""What will a run cost, and how long will it take? Low, likely and high, and where each figure is from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cf_workers.agents.definition import AgentCall, AgentDefinition, Usage
from cf_workers.agents.estimate import ANSWER_SHARE, bound_nanos, most_input_tokens
from cf_workers.agents.prices import cost_nanos
from cf_workers.answers import call_for
from cf_workers.planning import Planned
from cf_workers.workflows.accounts import DayRow, Sample
from cf_workers.workflows.inputs import full_task, input_names
from cf_workers.workflows.plan import PlannedStep

Basis = Literal["history", "estimate"]

ENOUGH_SAMPLES = 5
"""From so many executions on record on, these are the better teachers."""
HISTORY_DAYS = 7
"""Over which the share of hits is looked at."""

_PERCENTILES = (0.1, 0.5, 0.9)
_SHORT_ANSWER = 0.05
_BYTES_A_TOKEN = (5, 4, 3)
"""Of the low, the likely and the high estimate: what a token stands for differs from model to model."""
_TOKENS_A_SECOND = (100, 60, 30)
_FIRST_TOKEN_SECONDS = (0.5, 1.0, 3.0)


@dataclass(frozen=True)
class Span:
    """A low, a likely and a high value."""

    low: float
    likely: float
    high: float

    @classmethod
    def sum(cls, spans: Sequence[Span]) -> Span:
        """All lows, all likely ones and all highs: as wide as if all went well or badly together."""
        return cls(*(sum(each) for each in zip(*((s.low, s.likely, s.high) for s in spans), strict=True)))

    def without(self, hit: float) -> Span:
        """What is left when a call is made only where there is no hit; the high value counts on none."""
        return Span(self.low * (1 - hit), self.likely * (1 - hit), self.high * (0 if hit == 1 else 1))


@dataclass(frozen=True)
class StepQuote:
    """One step.

    Args:
        basis: executions on record, or an estimate by size.
        samples: how many executions that are.
        hit: how likely its answer is in the cache: 0 or 1 where that could be looked up.
        hit_known: whether it could.
        nanos: billionths of a dollar; `None` where the price is not known.
        output_tokens: of its answer.
    """

    step: str
    agent: str
    model: str
    basis: Basis
    samples: int
    hit: float
    hit_known: bool
    nanos: Span | None
    seconds: Span
    output_tokens: Span


@dataclass(frozen=True)
class Quote:
    """A whole run.

    Args:
        nanos: `None` where the price of a step is not known.
        critical_path: the steps that decide how long it likely takes.
    """

    steps: tuple[StepQuote, ...]
    nanos: Span | None
    seconds: Span
    critical_path: tuple[str, ...]

    @property
    def expected_hits(self) -> float:
        """How many of the steps the cache likely answers."""
        return sum(step.hit for step in self.steps)


class Quoter:
    """Quotes plans.

    Args:
        samples: what the latest executions of an agent with a model took.
        day: what was executed on a day.
        known: whether the cache holds the answer to a call of a step; `None`: it is not kept.
    """

    def __init__(
        self,
        *,
        samples: Callable[[str, str], Sequence[Sample]],
        day: Callable[[str], Sequence[DayRow]],
        known: Callable[[PlannedStep, AgentCall], bool | None],
    ) -> None:
        self._samples = samples
        self._day = day
        self._known = known

    def quote(
        self, planned: Planned, *, task: str | None, inputs: Mapping[str, str], task_needed: bool = False
    ) -> Quote:
        """Quote a plan; nothing is enqueued, and the provider is asked nothing.

        Args:
            task_needed: the steps get the run's task, and none is known yet.
        """
        rates = self._hit_rates(planned.plan.workflow)
        quoted: dict[str, StepQuote] = {}
        graph = planned.plan.graph
        for name in graph.order:
            step = planned.plan.by_id[name]
            definition = AgentDefinition.model_validate_json(planned.definitions[step.definition])
            given = {each: inputs.get(each, "") for each in input_names(step.task or "")}
            call = call_for(definition, step, task=full_task(step.task, given, task))
            whole = not task_needed and given.keys() <= inputs.keys()
            hit, certain = self._hit(step, call if whole else None, rates)
            before = [quoted[each].output_tokens for each in step.dependencies if step.passes]
            quoted[name] = self._step(step, call, before, hit=hit, hit_known=certain)
        steps = tuple(quoted[step.id] for step in planned.plan.steps)
        priced = [step.nanos for step in steps if step.nanos is not None]
        path, _ = graph.critical_path({name: step.seconds.likely for name, step in quoted.items()})
        longest = (
            graph.critical_path({name: getattr(step.seconds, which) for name, step in quoted.items()})[1]
            for which in ("low", "likely", "high")
        )
        whole_cost = Span.sum([Span(0, 0, 0), *priced]) if len(priced) == len(steps) else None
        return Quote(steps, whole_cost, Span(*longest), tuple(path))

    def _hit(
        self, step: PlannedStep, call: AgentCall | None, rates: Mapping[tuple[str, str], float]
    ) -> tuple[float, bool]:
        """How likely the answer is in the cache: looked up where the whole call is known beforehand."""
        if call is not None and not (step.passes and step.dependencies):
            return float(bool(self._known(step, call))), True
        if step.cacheable is False:
            return 0.0, True
        return rates.get((step.agent, step.model), 0.0), False

    def _hit_rates(self, workflow: str) -> dict[tuple[str, str], float]:
        """The share of executions that the cache answered lately, by agent and model."""
        executions: dict[tuple[str, str], list[int]] = {}
        now = time.time()
        for ago in range(HISTORY_DAYS):
            for row in self._day(time.strftime("%Y-%m-%d", time.gmtime(now - 86_400 * ago))):
                if row.workflow == workflow:
                    sums = executions.setdefault((row.agent, row.model), [0, 0])
                    sums[0] += row.sums.get("cached", 0)
                    sums[1] += row.sums.get("executions", 0)
        return {key: cached / all_ for key, (cached, all_) in executions.items() if all_}

    def _step(
        self, step: PlannedStep, call: AgentCall, before: Sequence[Span], *, hit: float, hit_known: bool
    ) -> StepQuote:
        samples = [sample for sample in self._samples(step.agent, step.model) if not sample.batch]
        if len(samples) >= ENOUGH_SAMPLES:
            basis: Basis = "history"
            outputs, seconds, nanos = _of_history(samples)
        else:
            basis = "estimate"
            outputs, seconds, nanos = _of_size(call, before)
        if step.lane == "batch":
            seconds, nanos = _in_a_batch(seconds), nanos and Span(nanos.low / 2, nanos.likely / 2, nanos.high)
        return StepQuote(
            step.id,
            step.agent,
            step.model,
            basis,
            samples=len(samples),
            hit=hit,
            hit_known=hit_known,
            nanos=None if nanos is None else nanos.without(hit),
            seconds=seconds.without(hit),
            output_tokens=outputs,
        )


def _in_a_batch(seconds: Span) -> Span:
    """Most batches end within an hour, and all within a day; who is not answered by then is asked at once.

    https://platform.claude.com/docs/en/build-with-claude/batch-processing
    """
    return Span(seconds.low, 3600.0, 86_400.0 + seconds.high)


def _of_history(samples: Sequence[Sample]) -> tuple[Span, Span, Span | None]:
    costs = [sample.cost_nanos for sample in samples if sample.cost_nanos is not None]
    return (
        _percentiles([sample.output_tokens for sample in samples]),
        _percentiles([sample.seconds for sample in samples]),
        _percentiles(costs) if costs else None,
    )


def _percentiles(values: Sequence[float]) -> Span:
    """The values below which a tenth, a half and nine tenths of all lie, by nearest rank."""
    ranked = sorted(values)
    return Span(*(ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in _PERCENTILES))


def _of_size(call: AgentCall, before: Sequence[Span]) -> tuple[Span, Span, Span | None]:
    """By the size of the prompt, outputs of earlier steps among it, and of the longest answer."""
    answers = Span(_SHORT_ANSWER * call.max_tokens, ANSWER_SHARE * call.max_tokens, float(call.max_tokens))
    earlier = Span.sum([Span(0, 0, 0), *before])
    size = most_input_tokens(call)
    low, likely, high = (
        size // per + round(more)
        for per, more in zip(_BYTES_A_TOKEN, (earlier.low, earlier.likely, earlier.high), strict=True)
    )
    seconds = Span(
        *(
            first + answer / rate
            for first, answer, rate in zip(
                _FIRST_TOKEN_SECONDS,
                (answers.low, answers.likely, answers.high),
                _TOKENS_A_SECOND,
                strict=True,
            )
        )
    )
    costs = (
        cost_nanos(call.model, Usage(input_tokens=low, output_tokens=round(answers.low))),
        cost_nanos(call.model, Usage(input_tokens=likely, output_tokens=round(answers.likely))),
        bound_nanos(call.model, high, call.max_tokens),
    )
    priced = [cost for cost in costs if cost is not None]
    return answers, seconds, Span(*priced) if len(priced) == len(costs) else None
