"""How does a test run the batch lane without runs, a server or a provider?

The provider is scripted; the lane's own side is a desk that knows who still waits; and a client may die
before any command that it is about to send.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cf_workers._redis import Keys, server_time
from cf_workers.batches import (
    BatchPolicy,
    Courier,
    PackTable,
    RemoteBatch,
    Request,
    Row,
    RowResult,
    RowTable,
    Standing,
    UnclearError,
    Wish,
)

POLICY = BatchPolicy(linger_seconds=60, poll_seconds=30, submit_timeout_seconds=300, settle_seconds=60)
USAGE = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"}
MESSAGE = {"type": "message", "model": "claude-haiku-4-5", "stop_reason": "end_turn", "usage": USAGE}


class Crash(BaseException):
    """The process dies here."""


class MortalClient:
    """A Redis client whose process dies before one of its commands.

    Args:
        dies_before: how many commands it sends; a pipeline is one.
    """

    def __init__(self, client: Any, dies_before: int | None = None) -> None:
        self._client = client
        self._left = dies_before
        self.sent = 0

    def step(self) -> None:
        """Live through one more command, or die."""
        if self._left is not None and self.sent >= self._left:
            raise Crash
        self.sent += 1

    def pipeline(self, *args: Any, **kwargs: Any) -> Any:
        pipe = self._client.pipeline(*args, **kwargs)
        execute = pipe.execute

        def mortal() -> Any:
            self.step()
            return execute()

        pipe.execute = mortal
        return pipe

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def mortal(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return method(*args, **kwargs)

        return mortal


@dataclass
class Remote:
    """One batch at the scripted provider."""

    id: str
    requests: tuple[Request, ...]
    created_at: float
    ended: bool = False
    cancelled: bool = False
    endings: dict[str, RowResult] = field(default_factory=dict)


class ScriptedProvider:
    """Batches in memory. Rows succeed unless `fate` says otherwise when their batch ends.

    Args:
        fate: how a row ends, by what it asks and how often that was asked.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.batches: dict[str, Remote] = {}
        self.fate: Callable[[str, int], str] = lambda _asked, _times: "succeeded"
        self.asked: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._trouble: list[BaseException | str] = []

    def will(self, *trouble: BaseException | str) -> None:
        """What happens to the next submissions: an error instead, or afterwards a `lost_reply` or `crash`."""
        self._trouble += trouble

    def create(self, requests: Sequence[Request]) -> RemoteBatch:
        self.calls["create"] += 1
        trouble = self._trouble.pop(0) if self._trouble else None
        if isinstance(trouble, BaseException):
            raise trouble
        made = self.add(requests)
        if trouble == "lost_reply":
            raise UnclearError("the connection broke")
        if trouble == "crash":
            raise Crash
        return self._shown(made)

    def add(self, requests: Sequence[Request]) -> Remote:
        """A batch, whoever made it."""
        made = Remote(f"msgbatch_{len(self.batches) + 1}", tuple(requests), self._now())
        assert len({one.custom_id for one in requests}) == len(requests)
        self.batches[made.id] = made
        return made

    def end(self) -> None:
        """All batches end; what was cancelled was not reached."""
        for batch in self.batches.values():
            if batch.ended:
                continue
            batch.ended = True
            for request in batch.requests:
                asked = asked_by(request)
                self.asked[asked] += 1
                ending = "canceled" if batch.cancelled else self.fate(asked, self.asked[asked])
                batch.endings[request.custom_id] = _result(request.custom_id, ending, asked)
                self.paid[asked] += ending in {"succeeded", "refused"}

    def retrieve(self, batch: str) -> RemoteBatch | None:
        self.calls["retrieve"] += 1
        found = self.batches.get(batch)
        return self._shown(found) if found else None

    def newest(self) -> Iterator[RemoteBatch]:
        self.calls["list"] += 1
        return iter([self._shown(one) for one in reversed(self.batches.values())])

    def results(self, batch: str) -> Iterator[RowResult]:
        self.calls["results"] += 1
        return iter(list(reversed(self.batches[batch].endings.values())))

    def cancel(self, batch: str) -> None:
        self.calls["cancel"] += 1
        self.batches[batch].cancelled = True

    def _shown(self, batch: Remote) -> RemoteBatch:
        return RemoteBatch(batch.id, len(batch.requests), batch.created_at, batch.ended)


def asked_by(request: Request) -> str:
    """What a row asks: in the words of a test, or of a request of ours."""
    if "asks" in request.params:
        return str(request.params["asks"])
    return str(request.params["messages"][0]["content"])


def _result(custom_id: str, ending: str, asked: str) -> RowResult:
    if ending == "succeeded":
        text = {"type": "text", "text": "the batch says hello"}
        return RowResult(custom_id, "succeeded", message={**MESSAGE, "content": [text]})
    if ending == "refused":
        message = {**MESSAGE, "content": [], "stop_reason": "refusal"}
        return RowResult(custom_id, "succeeded", message=message)
    if ending in {"invalid", "overloaded"}:
        kind = "invalid_request_error" if ending == "invalid" else "overloaded_error"
        said = {"type": kind, "message": f"no: {asked}"}
        return RowResult(custom_id, "errored", error=said, passing=ending == "overloaded")
    return RowResult(custom_id, ending)  # type: ignore[arg-type]


class FrontDesk:
    """Who waits for what: a mark is wanted until a test says otherwise, and asks what its row's key says."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.known: set[str] = set()
        self.woken: Counter[str] = Counter()
        self.told: dict[str, str] = {}
        self.written_off: list[str] = []

    def prepare(self, rows: Sequence[Row], marks: Sequence[Iterable[str]]) -> Mapping[str, Mapping[str, Any]]:
        wanted = zip(rows, self.wanted(marks), strict=True)
        return {row.id: {"asks": row.key} for row, so in wanted if so and row.key not in self.known}

    def wanted(self, marks: Sequence[Iterable[str]]) -> list[bool]:
        return [bool(set(members) - self.gone) for members in marks]

    def wake(self, marks: Iterable[str]) -> None:
        self.woken.update(marks)

    def tell(self, marks: Iterable[str], what: str) -> None:
        self.told |= dict.fromkeys(marks, what)

    def write_off(self, row: Row, outcome: Mapping[str, Any]) -> None:
        self.written_off.append(row.key)


class Lane:
    """The batch lane on one fake server; `restarted` is another process on the same."""

    def __init__(self, client: Any, clock: Any, policy: BatchPolicy = POLICY) -> None:
        self.server = client
        self.time = clock
        self.policy = policy
        self.keys = Keys()
        self.provider = ScriptedProvider(clock.time)
        self.desk = FrontDesk()
        self.restart()

    def restart(self, dies_before: int | None = None) -> MortalClient:
        """Go on as a new process, which dies before its command of that number."""
        client = MortalClient(self.server, dies_before)
        self.rows = RowTable(client, self.keys, results_seconds=1000)
        self.packs = PackTable(client, self.keys)
        self.courier = Courier(
            self.rows,
            self.packs,
            self.provider,
            self.desk,
            clock=lambda: server_time(client),
            policy=self.policy,
        )
        return client

    def join(self, asks: str, mark: str | None = None, **rest: Any) -> Standing:
        """A step asks something; its mark is what it asks unless it has a name of its own."""
        start = rest.pop("start", True)
        given = {"model": "haiku", "size": 1000, **rest}
        return self.rows.join(Wish(mark=mark or f"{asks} mark", key=asks, **given), start=start)

    def state(self, asks: str) -> str:
        """What has become of what a step asked."""
        standing = self.join(asks, start=False)
        return standing.row.state if standing.row else "none"

    def poll(self, after: float = 0) -> dict[str, int]:
        self.time.advance(after)
        return self.courier.poll()

    def run_dry(self, rounds: int = 60) -> None:
        """Poll, and let batches end, until nothing is under way."""
        for _ in range(rounds):
            self.poll(after=61)
            self.provider.end()
            keys = self.keys.batches
            if not self.server.zcard(keys.packs) and not self.server.zcard(keys.waiting):
                return
        raise AssertionError(f"still under way: {self.packs.all()}")
