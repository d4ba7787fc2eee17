"""Which calls go into batches, who waits for each, and how did it end?

A row holds no prompt, only who asked: its request is built anew when it is sent. Equal calls of different
steps share a row, and one of them pays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from uuid import uuid4

from cf_workers._redis import Keys, RedisClient, Script
from cf_workers.batches.packer import Candidate
from cf_workers.wire import canonical_json

RowState = Literal["waiting", "packed", "landed", "returned"]

_JOIN, _LEAVE, _LAND, _RETURN, _DROP, _WRITE_OFF = (
    Script(__package__, name) for name in ("join", "leave", "land", "return_row", "drop_row", "write_off")
)
_ROW_SECONDS = 30 * 86_400
"""Results are kept by the provider for 29 days, and no row waits longer than a run may be active."""
_AT_ONCE = 500


@dataclass(frozen=True)
class Wish:
    """What a step wants asked.

    Args:
        mark: names this try of the step, and no other.
        key: equal for calls that may share an answer.
        size: bytes of its request; needed where a row may be made of it.
        prefix: what the request shares with others, for the provider's prompt cache.
        rescue_at: Unix time from which on its run cannot wait any longer.
    """

    mark: str
    key: str
    model: str
    size: int = 0
    prefix: str = ""
    rescue_at: float | None = None


@dataclass(frozen=True)
class Row:
    """One call of the batch lane.

    Args:
        sends: how often it has been put into a batch.
        source: the mark of the step that asked first.
        outcome: how it landed: what the courier wrote down.
    """

    id: str
    key: str
    model: str
    size: int
    prefix: str
    state: RowState
    since: float
    sends: int
    source: str
    rescue_at: float | None = None
    custom_id: str | None = None
    pack: str | None = None
    payer: str | None = None
    landed_at: float | None = None
    outcome: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Standing:
    """How a step stands with its row; `None` for one that goes by itself, or never had one.

    Args:
        pays: the row has landed and this step is the one that pays for it.
    """

    row: Row | None
    alone: bool = False
    pays: bool = False


@dataclass(frozen=True)
class Landing:
    """What became of a row that was sent.

    Args:
        state: `landed`, `returned` to the ordinary API, or `waiting` for another batch.
    """

    row: Row
    state: RowState
    outcome: Mapping[str, Any]


class RowTable:
    """All rows of one namespace.

    Args:
        results_seconds: how long an answer is kept.
    """

    def __init__(self, client: RedisClient, keys: Keys, *, results_seconds: float) -> None:
        self._client = client
        self._keys = keys
        self._results_seconds = max(1, int(results_seconds))

    def join(self, wish: Wish, *, start: bool = True) -> Standing:
        """Wait for the answer to a call, or learn what has become of it.

        Args:
            start: false only asks about the row that the step waits for already.
        """
        candidate = self._client.get(self._keys.batch_mark(wish.mark))
        if candidate in {None, "-"}:
            candidate = self._client.get(self._keys.batch_open(wish.key))
        while True:
            row = candidate or uuid4().hex
            verdict, text, *rest = self._join(row, wish, start=start)
            if verdict == "row":
                return Standing(_row(row, _pairs(rest[0])), pays=text == "1")
            if verdict != "again":
                return Standing(None, alone=verdict == "alone")
            candidate = text

    def _join(self, row: str, wish: Wish, *, start: bool) -> Any:
        keys = self._keys
        return _JOIN(
            self._client,
            {
                "mark": keys.batch_mark(wish.mark),
                "open": keys.batch_open(wish.key),
                "row": keys.batch_row(row),
                "marks": keys.batch_row_marks(row),
                "waiting": keys.batches.waiting,
                "landed": keys.batches.landed,
            },
            {
                "id": row,
                "mark": wish.mark,
                "key": wish.key,
                "model": wish.model,
                "size": wish.size,
                "prefix": wish.prefix,
                "rescue_at": wish.rescue_at,
                "ttl": _ROW_SECONDS,
                "join": start,
            },
        )

    def waits(self, mark: str) -> bool:
        """Whether a step still waits for its row; if not, its answer is there, or will never be."""
        row = self._client.get(self._keys.batch_mark(mark))
        return bool(row) and self._client.hget(self._keys.batch_row(row), "state") in {"waiting", "packed"}

    def leave(self, row: Row, mark: str) -> bool:
        """Take a step off a row that has not landed; it goes by itself from now on."""
        keys = {**self._keys_of(row), "mark": self._keys.batch_mark(mark)}
        named = {name: keys[name] for name in ("mark", "open", "row", "marks", "waiting")}
        return bool(_LEAVE(self._client, named, {"id": row.id, "mark": mark, "ttl": _ROW_SECONDS}))

    def candidates(self, limit: int) -> list[Candidate]:
        """The rows that wait for a batch, the oldest first."""
        ids = list(self._client.zrange(self._keys.batches.waiting, 0, limit - 1))
        found = []
        for row in self.rows(ids):
            if row.state == "waiting":
                found.append(Candidate(row.id, row.model, row.size, row.since))
        if gone := set(ids) - {one.id for one in found}:
            self._client.zrem(self._keys.batches.waiting, *gone)
        return found

    def rows(self, ids: Iterable[str]) -> list[Row]:
        """The rows of these ids, as far as they exist."""
        wanted = list(ids)
        found = []
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            with self._client.pipeline(transaction=False) as pipe:
                for row in part:
                    pipe.hgetall(self._keys.batch_row(row))
                records = pipe.execute()
            found += [_row(row, record) for row, record in zip(part, records, strict=True) if record]
        return found

    def marks(self, rows: Sequence[Row]) -> list[set[str]]:
        """Who waits for each of these rows."""
        with self._client.pipeline(transaction=False) as pipe:
            for row in rows:
                pipe.smembers(self._keys.batch_row_marks(row.id))
            return [set(members) for members in pipe.execute()]

    def land(self, landings: Sequence[Landing]) -> list[bool]:
        """Note what became of rows; for each, whether that is how this sending of it ended."""
        told = self._each(
            _LAND,
            [landing.row for landing in landings],
            lambda index: {
                "id": landings[index].row.id,
                "custom_id": landings[index].row.custom_id,
                "state": landings[index].state,
                "outcome": canonical_json(dict(landings[index].outcome)),
                "ttl": self._results_seconds,
            },
        )
        return [bool(done) for done in told]

    def give_back(self, rows: Sequence[Row]) -> None:
        """Have rows that fit into no batch asked through the ordinary API."""
        ttl = self._results_seconds
        self._each(_RETURN, rows, lambda index: {"id": rows[index].id, "ttl": ttl})

    def drop(self, rows: Sequence[Row]) -> None:
        """Forget rows of a pack that was not submitted: nobody wants them."""
        self._each(
            _DROP,
            rows,
            lambda index: {"id": rows[index].id, "custom_id": rows[index].custom_id},
        )

    def write_off(self, row: Row) -> bool:
        """Note that nobody will take the answer to a row; false when somebody has."""
        keys = {"row": self._keys.batch_row(row.id), "landed": self._keys.batches.landed}
        return bool(_WRITE_OFF(self._client, keys, {"id": row.id}))

    def untaken(self, before: float) -> list[Row]:
        """Rows that landed, or were looked at, before that time and whose answer nobody has taken."""
        key = self._keys.batches.landed
        ids = list(self._client.zrangebyscore(key, "-inf", before, start=0, num=_AT_ONCE))
        found = self.rows(ids)
        if gone := set(ids) - {row.id for row in found}:
            self._client.zrem(key, *gone)
        return found

    def look_again(self, rows: Sequence[Row], at: float) -> None:
        """Look at untaken answers again at that time."""
        if rows:
            self._client.zadd(self._keys.batches.landed, {row.id: at for row in rows}, xx=True)

    def _each(
        self, script: Script, rows: Sequence[Row], arguments: Callable[[int], Mapping[str, Any]]
    ) -> list[Any]:
        told: list[Any] = []
        for start in range(0, len(rows), _AT_ONCE):
            with self._client.pipeline(transaction=False) as pipe:
                for index in range(start, min(len(rows), start + _AT_ONCE)):
                    keys = self._keys_of(rows[index])
                    script(pipe, {name: keys[name] for name in script.keys}, arguments(index))
                told += pipe.execute()
        return told

    def _keys_of(self, row: Row) -> dict[str, str]:
        keys = self._keys
        return {
            "row": keys.batch_row(row.id),
            "marks": keys.batch_row_marks(row.id),
            "open": keys.batch_open(row.key),
            "pack_rows": keys.batch_pack_rows(row.pack or ""),
            "waiting": keys.batches.waiting,
            "landed": keys.batches.landed,
        }


def key_of_mark(mark: str) -> str:
    """The key of a call whose answer is for one step alone."""
    return hashlib.sha256(f"mark\n{mark}".encode()).hexdigest()


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _row(id: str, record: Mapping[str, str]) -> Row:
    seconds = partial(_seconds, record)
    return Row(
        id=id,
        key=record["key"],
        model=record["model"],
        size=int(record["size"]),
        prefix=record["prefix"],
        state=record["state"],  # type: ignore[arg-type]
        since=float(record["since"]),
        sends=int(record["sends"]),
        source=record["source"],
        rescue_at=seconds("rescue_at"),
        custom_id=record.get("custom_id"),
        pack=record.get("pack"),
        payer=record.get("payer"),
        landed_at=seconds("landed_at"),
        outcome=json.loads(record["outcome"]) if record.get("outcome") else None,
    )


def _seconds(record: Mapping[str, str], name: str) -> float | None:
    return float(record[name]) if record.get(name) else None
