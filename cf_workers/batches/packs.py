"""Which batches are under way, and how sure are we of each?

    filling     rows are being moved into it
    sealed      it may be submitted: certainly no batch was made of it
    submitting  it is being submitted, or that was not answered: a batch may have been made of it
    submitted   it is this batch

Batches carry no name of ours, so one whose submission was not answered is looked for among the provider's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cf_workers._redis import Keys, RedisClient, Script
from cf_workers.batches.packer import Candidate

PackState = Literal["filling", "sealed", "submitting", "submitted"]

_SEAL_ROW, _STEP, _HOLD, _LET_GO = (
    Script(__package__, name) for name in ("seal_row", "step_pack", "hold", "let_go")
)
_PACK_SECONDS = 30 * 86_400
_AT_ONCE = 500


@dataclass(frozen=True)
class Pack:
    """Rows that are, or will be, one batch.

    Args:
        count: how many rows were submitted.
        submitting_at: when its submission began, by the server's clock.
        rescue_at: Unix time from which on one of its rows cannot wait any longer.
        cancelled: whether the provider was asked to end it early.
    """

    id: str
    state: PackState
    model: str
    count: int = 0
    submitting_at: float = 0.0
    token: str = ""
    batch: str = ""
    rescue_at: float | None = None
    cancelled: bool = False


class PackTable:
    """All packs of one namespace."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def fill(self, pack: str, rows: Sequence[Candidate], *, now: float) -> None:
        """Move rows into a new pack; whoever finds it half filled goes on with what it holds."""
        key = self._keys.batch_pack(pack)
        with self._client.pipeline() as pipe:
            pipe.hset(key, mapping={"state": "filling", "model": rows[0].model})
            pipe.expire(key, _PACK_SECONDS)
            pipe.zadd(self._keys.batches.packs, {pack: now})
            pipe.execute()
        waiting = self._keys.batches.waiting
        for start in range(0, len(rows), _AT_ONCE):
            with self._client.pipeline(transaction=False) as pipe:
                for row in rows[start : start + _AT_ONCE]:
                    keys = {"row": self._keys.batch_row(row.id), "waiting": waiting}
                    arguments = {
                        "id": row.id,
                        "pack": pack,
                        "custom_id": custom_id(self._keys.namespace, pack, row.id),
                        "ttl": _PACK_SECONDS,
                    }
                    _SEAL_ROW(pipe, {**keys, "pack_rows": self._keys.batch_pack_rows(pack)}, arguments)
                pipe.execute()

    def get(self, pack: str) -> Pack | None:
        """A pack, if it exists."""
        record = self._client.hgetall(self._keys.batch_pack(pack))
        return _pack(pack, record) if record else None

    def all(self) -> list[Pack]:
        """Every pack, the one that is due first first."""
        return self._read(self._client.zrange(self._keys.batches.packs, 0, -1))

    def due(self, now: float) -> list[Pack]:
        """The packs to look at now."""
        return self._read(self._client.zrangebyscore(self._keys.batches.packs, "-inf", now))

    def rows(self, pack: Pack) -> dict[str, str]:
        """Custom id -> row, of those without a result."""
        return dict(self._client.hgetall(self._keys.batch_pack_rows(pack.id)))

    def step(
        self,
        pack: Pack,
        before: Sequence[PackState],
        after: PackState,
        *,
        look_at: float,
        by: str = "",
        batch: str = "",
        **fields: Any,
    ) -> bool:
        """Take a pack to its next state; false when it is not where it is thought to be.

        Args:
            look_at: Unix time of the next look.
            by: the token of its submission, where that must still be the last one.
            batch: the id of the batch that it is.
        """
        keys = {
            "pack": self._keys.batch_pack(pack.id),
            "packs": self._keys.batches.packs,
            "known": self._keys.batches.known,
        }
        arguments = {
            "id": pack.id,
            "before": " ".join(before),
            "after": after,
            "fields": fields,
            "look_at": look_at,
            "batch": batch,
            "ttl": _PACK_SECONDS,
            "by": by,
        }
        return bool(_STEP(self._client, keys, arguments))

    def look_at(self, pack: Pack, at: float, **fields: Any) -> None:
        """Look at a pack again at that time."""
        with self._client.pipeline() as pipe:
            if fields:
                pipe.hset(self._keys.batch_pack(pack.id), mapping=fields)
            pipe.zadd(self._keys.batches.packs, {pack.id: at}, xx=True)
            pipe.execute()

    def settle(self, pack: Pack, custom_ids: Iterable[str]) -> None:
        """These rows of a pack need nothing more."""
        wanted = list(custom_ids)
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            self._client.hdel(self._keys.batch_pack_rows(pack.id), *part)

    def close(self, pack: Pack) -> None:
        """Forget a pack, all of whose rows are settled."""
        with self._client.pipeline() as pipe:
            pipe.zrem(self._keys.batches.packs, pack.id)
            pipe.delete(self._keys.batch_pack(pack.id), self._keys.batch_pack_rows(pack.id))
            pipe.execute()

    def unknown(self, batches: Sequence[str]) -> list[str]:
        """Which of these batches of the provider we have no idea of."""
        if not batches:
            return []
        scores = self._client.zmscore(self._keys.batches.known, list(batches))
        return [batch for batch, score in zip(batches, scores, strict=True) if score is None]

    def disown(self, batch: str, now: float) -> None:
        """Note that a batch of the provider is none of ours."""
        self._client.zadd(self._keys.batches.known, {batch: now})

    def hold(self, holder: str, *, lease_seconds: float, take: bool) -> bool:
        """Take the right to poll, or keep it."""
        arguments = {"holder": holder, "lease_ms": max(1, int(lease_seconds * 1000)), "take": take}
        return bool(_HOLD(self._client, {"poller": self._keys.batches.poller}, arguments))

    def let_go(self, holder: str) -> None:
        """Give the right to poll up."""
        _LET_GO(self._client, {"poller": self._keys.batches.poller}, {"holder": holder})

    def work_is_due(self, now: float, *, linger_seconds: float, max_rows: int) -> bool:
        """Whether a poll would find something to do."""
        keys = self._keys.batches
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zcount(keys.packs, "-inf", now)
            pipe.zcount(keys.waiting, "-inf", now - linger_seconds)
            pipe.zcard(keys.waiting)
            pipe.zcount(keys.landed, "-inf", now - UNTAKEN_SECONDS)
            packs, lingered, waiting, untaken = pipe.execute()
        return bool(packs or lingered or waiting >= max_rows or untaken)

    def _read(self, ids: Sequence[str]) -> list[Pack]:
        found = [(pack, self.get(pack)) for pack in ids]
        if gone := [pack for pack, record in found if record is None]:
            self._client.zrem(self._keys.batches.packs, *gone)
        return [record for _, record in found if record is not None]


UNTAKEN_SECONDS = 60.0
"""How long an answer may lie before somebody asks whether it is still wanted."""


def custom_id(namespace: str, pack: str, row: str) -> str:
    """The name of a row inside a batch: 64 hexadecimal digits, of no other row and no other sending."""
    return hashlib.sha256(f"{namespace}\n{pack}\n{row}".encode()).hexdigest()


def _pack(id: str, record: Mapping[str, str]) -> Pack:
    return Pack(
        id=id,
        state=record["state"],  # type: ignore[arg-type]
        model=record["model"],
        count=int(record.get("count", 0)),
        submitting_at=float(record.get("submitting_at", 0)),
        token=record.get("token", ""),
        batch=record.get("batch", ""),
        rescue_at=float(record["rescue_at"]) if record.get("rescue_at") else None,
        cancelled=record.get("cancelled") == "1",
    )
