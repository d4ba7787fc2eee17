"""Which rows make a batch, and when?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from cf_workers.batches.policy import BatchPolicy

ROW_OVERHEAD_BYTES = 128
"""What the API's JSON puts around a request: two names, the custom id, punctuation."""


@dataclass(frozen=True)
class Candidate:
    """A row that waits for a batch.

    Args:
        size: bytes of its request.
        since: Unix seconds.
    """

    id: str
    model: str
    size: int
    since: float


@dataclass(frozen=True)
class Packing:
    """What is to be done with the rows that wait.

    Args:
        packs: rows of one batch each; all of them for one model.
        oversize: rows that fit into no batch.
    """

    packs: tuple[tuple[Candidate, ...], ...] = ()
    oversize: tuple[Candidate, ...] = ()


def pack(waiting: Iterable[Candidate], *, now: float, room: int, policy: BatchPolicy) -> Packing:
    """Fill batches per model, oldest rows first; one that is not full is made when its oldest has lingered.

    Args:
        room: how many rows may be submitted at all.
    """
    by_model: dict[str, list[Candidate]] = defaultdict(list)
    oversize = []
    for row in sorted(waiting, key=lambda row: (row.since, row.id)):
        if row.size + ROW_OVERHEAD_BYTES > policy.max_bytes:
            oversize.append(row)
        else:
            by_model[row.model].append(row)
    full: list[tuple[Candidate, ...]] = []
    for rows in by_model.values():
        full += [part for part in _filled(rows, now, policy) if part]
    packs = []
    for rows_of_one in sorted(full, key=lambda rows: rows[0].since):
        if len(rows_of_one) <= room:
            packs.append(rows_of_one)
            room -= len(rows_of_one)
    return Packing(tuple(packs), tuple(oversize))


def _filled(rows: list[Candidate], now: float, policy: BatchPolicy) -> list[tuple[Candidate, ...]]:
    packs: list[tuple[Candidate, ...]] = []
    current: list[Candidate] = []
    size = 0
    for row in rows:
        needed = row.size + ROW_OVERHEAD_BYTES
        if len(current) == policy.max_rows or size + needed > policy.max_bytes:
            packs.append(tuple(current))
            current, size = [], 0
        current.append(row)
        size += needed
    is_full = len(current) == policy.max_rows
    if current and (is_full or current[0].since + policy.linger_seconds <= now):
        packs.append(tuple(current))
    return packs
