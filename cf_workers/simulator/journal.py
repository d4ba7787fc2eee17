"""Which requests came in, and what became of each?"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class RequestRecord:
    """One request as the stand-in saw it; never a key, and a prompt only in `body`.

    Args:
        number: counts from 1 in order of arrival.
        received_at: Unix seconds; so is `finished_at`, which is `None` while the answer is under way.
        outcome: the status as text, or what was done to the connection: `reset`, `hang`, `cut`.
        body_sha256: over the canonical body, whether streamed or not.
        credential: first digits of the SHA-256 of the key.
        disconnected: the client left before the answer had ended.
        sdk_retry: the SDK's own count of retries of this call.
    """

    number: int
    received_at: float
    method: str
    path: str
    finished_at: float | None = None
    status: int | None = None
    outcome: str = ""
    fault: str | None = None
    model: str = ""
    agent: str = ""
    stream: bool = False
    max_tokens: int = 0
    body_sha256: str = ""
    credential: str = ""
    disconnected: bool = False
    sdk_retry: int = 0
    usage: dict[str, Any] = field(default_factory=dict)
    body: str | None = None


@dataclass(frozen=True)
class RowRecord:
    """How one row of a message batch ended; a row that succeeded has been paid.

    Args:
        body_sha256: over its parameters, as `RequestRecord.body_sha256` of a single call.
        text: what the user's turn said.
    """

    batch: str
    custom_id: str
    outcome: str
    model: str = ""
    agent: str = ""
    body_sha256: str = ""
    text: str = ""
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass
class Stats:
    """Sums over everything since the start or the last reset, whether still remembered or not.

    Args:
        in_flight: requests whose answer has not ended; so is `peak_in_flight`, at its highest.
        batch_rows: rows of batches that were reached; their tokens are not in `tokens`.
        paid_rows: those of them that succeeded; the others cost nothing.
        tokens: the usage of all replies that began, cut ones included.
    """

    requests: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    disconnected: int = 0
    batch_rows: int = 0
    paid_rows: int = 0
    log_dropped: int = 0
    bodies_dropped: int = 0
    by_outcome: dict[str, int] = field(default_factory=dict)
    by_path: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)


class Journal:
    """A bounded log of requests and unbounded sums.

    Args:
        limit: records kept.
        body_bytes: bytes of bodies kept; the oldest go first.
    """

    def __init__(self, limit: int, body_bytes: int) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=limit)
        self._rows: deque[RowRecord] = deque(maxlen=limit)
        self._with_body: deque[tuple[RequestRecord, int]] = deque()
        self._body_bytes_limit = body_bytes
        self._body_bytes = 0
        self._outcomes: Counter[str] = Counter()
        self._paths: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._sums = Stats()

    def open(self, now: float, method: str, path: str, body: bytes) -> RequestRecord:
        """A request has arrived."""
        self._sums.requests += 1
        self._sums.in_flight += 1
        self._sums.peak_in_flight = max(self._sums.peak_in_flight, self._sums.in_flight)
        self._paths[path] += 1
        record = RequestRecord(self._sums.requests, now, method, path)
        if len(self._records) == self._records.maxlen:
            self._sums.log_dropped += 1
        self._records.append(record)
        self._keep_body(record, body)
        return record

    def close(self, record: RequestRecord, now: float) -> None:
        """Its answer has ended, one way or the other."""
        record.finished_at = now
        self._sums.in_flight -= 1
        self._sums.disconnected += record.disconnected
        self._outcomes["disconnected" if record.disconnected else record.outcome] += 1
        for name, amount in record.usage.items():
            if isinstance(amount, int):
                self._tokens[name] += amount

    def count_rows(self, rows: int, records: Iterable[RowRecord] = ()) -> None:
        """So many rows of a batch were processed, and this is how all of its rows ended."""
        self._sums.batch_rows += rows
        for record in records:
            self._sums.paid_rows += record.outcome == "succeeded"
            self._rows.append(record)

    def rows(self) -> list[RowRecord]:
        """The rows of batches that have ended, as far as remembered, in the order of their batches."""
        return list(self._rows)

    def records(self) -> list[RequestRecord]:
        """What is remembered, oldest first."""
        return list(self._records)

    def stats(self) -> Stats:
        """The sums as of now."""
        sums = {name: value for name, value in asdict(self._sums).items() if isinstance(value, int)}
        return Stats(
            **sums, by_outcome=dict(self._outcomes), by_path=dict(self._paths), tokens=dict(self._tokens)
        )

    def _keep_body(self, record: RequestRecord, body: bytes) -> None:
        if not body:
            return
        record.body = body.decode("utf-8", "replace")
        self._body_bytes += len(body)
        self._with_body.append((record, len(body)))
        while self._body_bytes > self._body_bytes_limit:
            oldest, size = self._with_body.popleft()
            oldest.body = None
            self._body_bytes -= size
            self._sums.bodies_dropped += 1
