"""How are thousands of executions and runs sent, followed and written down, few at a time?

Nothing but the output file and the records in Redis says how far a batch is. Every line is sent under an
idempotency key, so a line that was under way when the command died is found again and not paid twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cf_workers.client.batch_input import BatchInput
from cf_workers.client.batch_output import BatchOutput
from cf_workers.clock import Clock, SystemClock
from cf_workers.errors import (
    CfWorkersError,
    ConfigError,
    DefinitionMissingError,
    InputError,
    ServerUnreachableError,
    UnknownRunError,
    describe_error,
)
from cf_workers.money import NANOS, usd
from cf_workers.planning import WorkflowOptions
from cf_workers.project.batch_files import Entry
from cf_workers.workflows.outcome import FINAL

if TYPE_CHECKING:
    from cf_workers.client.client import Client


@dataclass(frozen=True)
class BatchPolicy:
    """How a batch goes about it.

    Args:
        in_flight: lines under way at once: a long file does not fill Redis.
        burst: lines sent between two looks at those under way.
        look_seconds: the time between two looks at lines under way, while nothing happens.
        patience_seconds: how long a server may be away before the batch stops, to be gone on with later.
    """

    in_flight: int = 200
    burst: int = 50
    look_seconds: float = 0.2
    patience_seconds: float = 300.0


@dataclass
class Tally:
    """How far a batch is.

    Args:
        before: lines that were done when it was started this time.
        unpriced: lines whose cost is unknown.
    """

    lines: int
    done: int = 0
    failed: int = 0
    before: int = 0
    cost_nanos: int = 0
    unpriced: int = 0
    seconds: float = 0.0

    @property
    def known_cost(self) -> float:
        """What the priced lines cost, in US dollars."""
        return usd(self.cost_nanos)

    @property
    def cost(self) -> float | None:
        """US dollars; `None` when that of a line is unknown."""
        return None if self.unpriced else self.known_cost

    @property
    def seconds_left(self) -> float | None:
        """At the pace of this start; `None` before there is one."""
        now = self.done - self.before
        return self.seconds / now * (self.lines - self.done) if now else None

    def add(self, document: Mapping[str, Any]) -> None:
        """Count one line of the output."""
        cost = document["cost"]
        self.done += 1
        self.failed += not document["success"]
        self.unpriced += cost is None
        self.cost_nanos += round((cost or 0) * NANOS)


class Batch:
    """One batch file with its output.

    Raises:
        InputError: the output holds what is not of this batch.
    """

    def __init__(
        self,
        client: Client,
        source: BatchInput,
        output: BatchOutput,
        *,
        ordered: bool = False,
        clock: Clock | None = None,
        policy: BatchPolicy | None = None,
    ) -> None:
        self._client = client
        self._source = source
        self._output = output
        self._ordered = ordered
        self._clock = clock or SystemClock()
        self._policy = policy or BatchPolicy()
        self._under_way: dict[int, str] = {}
        self._ended: dict[int, str | CfWorkersError] = {}
        self.tally = Tally(len(source))
        done = self._done_before()
        self._todo = deque(index for index, line in enumerate(source.numbers) if line not in done)
        self._order = deque(self._todo)

    def run(
        self, told: Callable[[Tally], object] = lambda _: None, idle: Callable[[], object] = lambda: None
    ) -> Tally:
        """Send what is left, and return when the output has a line for each line of the input.

        Args:
            told: called after every look, and at the end.
            idle: called when nothing has happened for a moment.

        Raises:
            ServerUnreachableError: the server stayed away; another start goes on.
            ConfigError: the project file cannot be read any more.
            CfWorkersError: the output cannot be written.
        """
        begun = self._clock.now()
        away_since: float | None = None
        while self.tally.done < self.tally.lines:
            try:
                happened = self._look()
                away_since = None
            except ServerUnreachableError:
                away_since = self._clock.now() if away_since is None else away_since
                if self._clock.now() - away_since > self._policy.patience_seconds:
                    raise
                happened = False
            self.tally.seconds = self._clock.now() - begun
            told(self.tally)
            if not happened:
                self._clock.sleep(self._policy.look_seconds)
                idle()
        return self.tally

    def _done_before(self) -> set[int]:
        known = set(self._source.numbers)
        done: set[int] = set()
        for document in self._output.lines():
            line = document["line"]
            if line in done or line not in known:
                raise InputError(
                    f"{self._output.path} has a line for line {line} of the batch file too many",
                    {"hint": "give another name with --out"},
                )
            done.add(line)
            self.tally.add(document)
        self.tally.before = self.tally.done
        return done

    def _look(self) -> bool:
        """Send some, see which have ended, write those down; whether anything happened."""
        sent = self._send()
        with self._client.reaching():
            ended = self._see()
            written = self._write()
        return bool(sent or ended or written)

    def _send(self) -> int:
        room = min(self._policy.in_flight - len(self._under_way), self._policy.burst, len(self._todo))
        for _ in range(room):
            index = self._todo[0]
            entry = self._source.entry(index)
            try:
                self._under_way[index] = self._start(entry)
            except ConfigError:  # the project file is broken now, for all lines alike
                raise
            except InputError as error:  # the project was edited since the file was checked
                self._ended[index] = error
            self._todo.popleft()
        return max(0, room)

    def _start(self, entry: Entry) -> str:
        key = f"batch:{self._output.batch}:{entry.line}"
        if entry.agent is not None:
            options = {**entry.options, "lane": self._source.lane}
            return self._client.submit(entry.agent, entry.task or "", idempotency_key=key, **options).id
        return self._client.start_workflow(
            entry.workflow or "",
            entry.task,
            inputs=entry.inputs,
            idempotency_key=key,
            timeout_seconds=entry.options.get("timeout_seconds"),
            options=WorkflowOptions(lane=self._source.lane),
        ).id

    def _see(self) -> int:
        if not self._under_way:
            return 0
        statuses = self._client.history.statuses(list(self._under_way.values()))
        ended = [index for index, run in self._under_way.items() if statuses[run] in FINAL]
        for index in ended:
            self._ended[index] = self._under_way.pop(index)
        lost = [index for index, run in self._under_way.items() if statuses[run] is None]
        for index in lost:  # the server forgot it when it crashed
            del self._under_way[index]
            self._todo.append(index)
        return len(ended)

    def _write(self) -> int:
        written = 0
        for index in self._writable():
            document = self._document(self._source.entry(index), self._ended[index])
            self._output.append(document)
            self.tally.add(document)
            del self._ended[index]
            written += 1
        return written

    def _writable(self) -> Iterable[int]:
        """What has ended; of an ordered output, as far as nothing before it is missing."""
        if not self._ordered:
            yield from list(self._ended)
            return
        while self._order and self._order[0] in self._ended:
            yield self._order.popleft()

    def _document(self, entry: Entry, ended: str | CfWorkersError) -> dict[str, Any]:
        if isinstance(ended, CfWorkersError):
            return _line(entry, _unsent(entry), describe_error(ended), 0.0)
        try:
            if entry.agent is not None:
                document = self._client.history.execution(ended)
                metadata = document["metadata"]
                return _line(entry, document, metadata["error"], metadata["estimated_cost"])
            document = self._client.history.document(ended)
            return _line(entry, document, _run_error(document), document["estimated_cost"])
        except (UnknownRunError, DefinitionMissingError) as error:
            return _line(entry, _unsent(entry), describe_error(error), None)


def _line(
    entry: Entry, document: Mapping[str, Any], error: Mapping[str, Any] | None, cost: float | None
) -> dict[str, Any]:
    """A line of the output: which line it answers, how that went, and the document that says all."""
    named = {"id": entry.id} if entry.id is not None else {}
    first = {"line": entry.line, **named, "success": document["success"], "error": error, "cost": cost}
    return {**first, **document}


def _unsent(entry: Entry) -> dict[str, Any]:
    name = {"agent_name": entry.agent} if entry.agent is not None else {"workflow_name": entry.workflow}
    return {"success": False, "status": "failed", **name, "output": None}


def _run_error(document: Mapping[str, Any]) -> dict[str, Any] | None:
    if document["success"]:
        return None
    status = document["status"]
    failed = [step for step, result in document["results"].items() if result["status"] == "failed"]
    kind = "RunCancelledError" if status == "cancelled" else "RunFailedError"
    return {"type": kind, "message": f"the run is {status}; steps that failed: {', '.join(failed) or 'none'}"}
