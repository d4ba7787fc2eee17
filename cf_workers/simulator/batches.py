"""What has become of a message batch and of each of its rows?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cf_workers.clock import Clock
from cf_workers.simulator.problem import ApiProblem, invalid

MAX_ROWS = 100_000
MAX_PAGE = 1000
EXPIRES_AFTER_SECONDS = 24 * 3600.0
CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
COUNTED = ("succeeded", "errored", "canceled", "expired")


@dataclass(frozen=True)
class Row:
    """One request of a batch."""

    custom_id: str
    params: dict[str, Any]


@dataclass
class Batch:
    """A batch that is processed evenly over its time, or until it is cancelled.

    Args:
        credential: digest of the key that made it; its batches are separate from those of others.
        results: one JSON line a row, made when the batch has ended and somebody looks.
    """

    id: str
    credential: str
    rows: tuple[Row, ...]
    created_at: float
    ends_at: float
    cancelled_at: float | None = None
    results: list[dict[str, Any]] | None = None

    def status(self, now: float) -> str:
        if now >= self.ends_at:
            return "ended"
        return "canceling" if self.cancelled_at is not None else "in_progress"

    def processed(self) -> int:
        """How many rows were reached before the batch ended."""
        if self.cancelled_at is None:
            return len(self.rows)
        return self._reached

    def cancel(self, now: float) -> None:
        """Stop; rows not yet reached end as `canceled`, and the batch soon after."""
        if self.cancelled_at is not None or now >= self.ends_at:
            return
        span = self.ends_at - self.created_at
        self._reached = int(len(self.rows) * (now - self.created_at) / span)
        self.cancelled_at = now
        self.ends_at = min(self.ends_at, now + span / 10)

    def as_json(self, now: float, base_url: str) -> dict[str, Any]:
        """The batch as the API spells it; counts stay at `processing` until all of it has ended."""
        ended = self.status(now) == "ended"
        counts = dict.fromkeys(COUNTED, 0)
        for line in self.results or ():
            counts[line["result"]["type"]] += 1
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status(now),
            "request_counts": {"processing": 0 if ended else len(self.rows), **counts},
            "created_at": _rfc3339(self.created_at),
            "expires_at": _rfc3339(self.created_at + EXPIRES_AFTER_SECONDS),
            "ended_at": _rfc3339(self.ends_at) if ended else None,
            "cancel_initiated_at": _rfc3339(self.cancelled_at) if self.cancelled_at is not None else None,
            "archived_at": None,
            "results_url": f"{base_url}/v1/messages/batches/{self.id}/results" if ended else None,
        }

    _reached: int = field(default=0, repr=False)


@dataclass
class BatchStore:
    """The batches of all keys, newest first."""

    clock: Clock
    _batches: dict[str, Batch] = field(default_factory=dict)

    def create(self, batch_id: str, credential: str, body: dict[str, Any], seconds: float) -> Batch:
        """Accept a batch; its rows' parameters are checked only when they are processed.

        Raises:
            ApiProblem: no rows, too many, or a bad or repeated `custom_id`.
        """
        now = self.clock.now()
        batch = Batch(batch_id, credential, _rows(body.get("requests")), now, now + seconds)
        self._batches[batch_id] = batch
        return batch

    def get(self, batch_id: str, credential: str) -> Batch:
        """A batch of this key.

        Raises:
            ApiProblem: 404, there is none.
        """
        batch = self._batches.get(batch_id)
        if batch is None or batch.credential != credential:
            raise ApiProblem(404, f"Message batch {batch_id} not found")
        return batch

    def delete(self, batch: Batch) -> None:
        """Forget a batch that has ended.

        Raises:
            ApiProblem: it has not; cancel it first.
        """
        if batch.status(self.clock.now()) != "ended":
            raise invalid(f"Message batch {batch.id} is still being processed; cancel it first")
        del self._batches[batch.id]

    def end(self) -> int:
        """End every batch now, all rows reached; how many there were."""
        now = self.clock.now()
        running = [batch for batch in self._batches.values() if batch.status(now) != "ended"]
        for batch in running:
            batch.ends_at = now
        return len(running)

    def of(self, credential: str) -> list[Batch]:
        """All batches of this key, newest first."""
        return [batch for batch in reversed(self._batches.values()) if batch.credential == credential]


def page(
    items: Sequence[dict[str, Any]], after: str, before: str, limit: str, default: int
) -> dict[str, Any]:
    """One page of a list, as the API cuts it by `after_id`, `before_id` and `limit`.

    Raises:
        ApiProblem: the limit is not a number from 1 to 1000.
    """
    if limit and not (limit.isdigit() and 1 <= int(limit) <= MAX_PAGE):
        raise invalid(f"limit: Input should be between 1 and {MAX_PAGE}")
    size = int(limit or default)
    ids = [item["id"] for item in items]
    if before in ids:
        end = ids.index(before)
        start = max(0, end - size)
        more = start > 0
    else:
        start = ids.index(after) + 1 if after in ids else 0
        end = min(len(ids), start + size)
        more = end < len(ids)
    part = list(items[start:end])
    return {
        "data": part,
        "has_more": more,
        "first_id": part[0]["id"] if part else None,
        "last_id": part[-1]["id"] if part else None,
    }


def _rows(requests: Any) -> tuple[Row, ...]:
    if not isinstance(requests, list) or not requests:
        raise invalid("requests: at least one request is required")
    if len(requests) > MAX_ROWS:
        raise invalid(f"requests: at most {MAX_ROWS} requests are allowed")
    seen: set[str] = set()
    rows = []
    for index, request in enumerate(requests):
        custom_id = request.get("custom_id") if isinstance(request, dict) else None
        if not isinstance(custom_id, str) or not CUSTOM_ID.fullmatch(custom_id):
            raise invalid(
                f"requests.{index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
            )
        if custom_id in seen:
            raise invalid(f"requests.{index}.custom_id: duplicate custom_id {custom_id!r}")
        if not isinstance(request.get("params"), dict):
            raise invalid(f"requests.{index}.params: Field required")
        seen.add(custom_id)
        rows.append(Row(custom_id, request["params"]))
    return tuple(rows)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
