"""A fleet of workers and a provider in simulated time: every decision is the product's, only time is not."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from cf_workers.clock import Clock
from cf_workers.errors import OverloadedError, RateLimitedError
from cf_workers.resilience import Admitted, Ask, Guard, Permit, Refused, Scope, Transition, answered, failed
from cf_workers.simulator.config import SimulatorConfig
from cf_workers.simulator.limits import RateLimiter
from cf_workers.simulator.problem import ApiProblem
from tests.support.time import ServerTime


@dataclass
class TimeOf(Clock):
    time: ServerTime

    def now(self) -> float:
        return self.time.seconds

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits in simulated time")


@dataclass
class Call:
    """One unit of work: asked for until it is answered."""

    name: str
    tenant: str
    lane: str = "batch"
    input_tokens: int = 1000
    output_tokens: int = 200
    asked_at: float = 0.0


@dataclass
class Fleet:
    """Runs calls through a guard against a provider that enforces limits and may be out.

    Args:
        estimate: how far off our estimates of the input are.
        wakes: whether those whose turn is brought forward hear of it, by a look every tenth of a second.
    """

    guard: Guard
    time: ServerTime
    provider: RateLimiter
    draw: random.Random
    scope: Scope = field(default_factory=lambda: Scope("c", "opus"))
    latency: float = 1.0
    estimate: float = 1.3
    outage: tuple[float, float] = (0.0, 0.0)
    sent: list[tuple[float, str]] = field(default_factory=list)
    done: list[tuple[float, Call]] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    changes: list[Transition] = field(default_factory=list)
    again: Callable[[Call], None] = lambda call: None
    wakes: bool = True
    in_flight: int = 0
    most_in_flight: int = 0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: int = 0
    _waiting: dict[str, int] = field(default_factory=dict)
    _asks: dict[str, Callable[[], None]] = field(default_factory=dict)
    _looking: bool = False

    def at(self, moment: float, work: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, work))

    def submit(self, call: Call, moment: float) -> None:
        def ask_first() -> None:
            call.asked_at = self.time.seconds
            self._ask(call)

        self.at(moment, ask_first)

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            moment, _, work = heapq.heappop(self._events)
            self.time.seconds = max(self.time.seconds, moment)
            work()
        self.time.seconds = until

    def _ask(self, call: Call) -> None:
        ask = Ask(
            self.scope,
            int(call.input_tokens * self.estimate),
            tenant=call.tenant,
            lane=call.lane,
            waiter=call.name,
        )
        told = self.guard.admit(ask)
        if isinstance(told, Refused):
            self.refusals[told.reason] += 1
            self._wait(call, told.retry_in_seconds)
            return
        assert isinstance(told, Admitted)
        assert not told.permit.blind
        self.changes += told.changes
        self._send(call, told.permit)

    def _wait(self, call: Call, seconds: float) -> None:
        """Ask again at the turn, or when woken before it."""
        self._waiting[call.name] = turn = self._number

        def ask() -> None:
            if self._waiting.get(call.name) == turn:
                del self._waiting[call.name]
                self._ask(call)

        self._asks[call.name] = ask
        self.at(self.time.seconds + seconds, ask)
        if self.wakes and not self._looking:
            self._looking = True
            self.at(self.time.seconds + 0.1, self._look)

    def _look(self) -> None:
        for waiter in self.guard.forward(self.scope):
            if waiter.name in self._waiting:
                self.at(self.time.seconds + 0.02, self._asks[waiter.name])
        self._looking = bool(self._waiting)
        if self._looking:
            self.at(self.time.seconds + 0.1, self._look)

    def _send(self, call: Call, permit: Permit) -> None:
        now = self.time.seconds
        self.sent.append((now, call.tenant))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.outage[0] <= now < self.outage[1]:
            self.at(now + 0.05, lambda: self._failed(call, permit, 529))
            return
        try:
            self.provider.admit("c", "opus", call.input_tokens)
        except ApiProblem as problem:
            wait = float(problem.headers["retry-after"])
            self.at(now + 0.05, lambda: self._failed(call, permit, 429, wait))
            return
        self.at(now + self.latency * self.draw.uniform(0.5, 1.5), lambda: self._answered(call, permit))

    def _failed(self, call: Call, permit: Permit, status: int, retry_after: float | None = None) -> None:
        self.in_flight -= 1
        self.answers[status] += 1
        error = RateLimitedError if status == 429 else OverloadedError
        details = {"status": status, "retry_after": retry_after}
        self.changes += self.guard.settle(permit, failed(error("scripted", details))).changes
        self.at(self.time.seconds + self.draw.uniform(0, 1), lambda: self._ask(call))

    def _answered(self, call: Call, permit: Permit) -> None:
        self.in_flight -= 1
        self.answers[200] += 1
        self.done.append((self.time.seconds, call))
        self.provider.settle("c", "opus", call.output_tokens)
        headers = self.provider.headers("c", "opus")
        ending = answered(
            input_tokens=call.input_tokens, output_tokens=call.output_tokens, rate_limits=headers
        )
        self.changes += self.guard.settle(permit, ending).changes
        self.again(call)


def provider(time: ServerTime, **limits: float) -> RateLimiter:
    return RateLimiter(TimeOf(time), SimulatorConfig(**limits))
