"""How does a row get into a batch, and its result back, whatever dies on the way?

Every step is written down before or after it is taken, whichever of the two can be put right: a pack that may
have become a batch is looked for among the provider's batches and its rows are held until that is certain; a
result is noted, then the steps that wait are woken, then the row is crossed off - so a pass that is repeated
changes nothing.
"""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import redis

from cf_workers.batches.api import (
    BatchApi,
    NotTakenError,
    RejectedError,
    RemoteBatch,
    Request,
    RowResult,
    UnclearError,
)
from cf_workers.batches.packer import Candidate, pack
from cf_workers.batches.packs import UNTAKEN_SECONDS, Pack, PackTable
from cf_workers.batches.policy import BatchPolicy
from cf_workers.batches.rows import Landing, Row, RowState, RowTable

log = logging.getLogger(__name__)

T = TypeVar("T")

_RESULTS_AT_ONCE = 200
_LONGEST_LIFE_SECONDS = 25 * 3600.0
"""After 24 hours a batch has ended one way or the other."""
_CANDIDATES = 50_000


class Desk(Protocol):
    """The lane's own side: who asked, and do they still want to know?"""

    def prepare(self, rows: Sequence[Row], marks: Sequence[Iterable[str]]) -> Mapping[str, Mapping[str, Any]]:
        """The requests of rows by id, without those that nobody wants any more or whose answer is known.

        Args:
            marks: who waits for each.
        """
        ...

    def wanted(self, marks: Sequence[Iterable[str]]) -> list[bool]:
        """For each row, by who waits for it, whether anybody still does."""
        ...

    def wake(self, marks: Iterable[str]) -> None:
        """Let steps look again now."""
        ...

    def tell(self, marks: Iterable[str], what: str) -> None:
        """Note what steps wait for."""
        ...

    def write_off(self, row: Row, outcome: Mapping[str, Any]) -> None:
        """An answer was paid that nobody wants."""
        ...


class Courier:
    """Packs, submits, follows and collects. One at a time in a fleet: see `PackTable.hold`.

    Args:
        clock: Unix seconds, by the server's clock.
    """

    def __init__(
        self,
        rows: RowTable,
        packs: PackTable,
        api: BatchApi,
        desk: Desk,
        *,
        clock: Callable[[], float],
        policy: BatchPolicy | None = None,
    ) -> None:
        self._rows = rows
        self._packs = packs
        self._api = api
        self._desk = desk
        self._clock = clock
        self.policy = policy or BatchPolicy()
        self._tally: Counter[str] = Counter()

    def poll(self, go_on: Callable[[], bool] = lambda: True) -> dict[str, int]:
        """Do everything that is due; how many rows went where.

        Args:
            go_on: asked between two pieces of work, whether this process may still do them.
        """
        self._tally = Counter()
        for one in self._packs.due(self._clock()):
            if not go_on():
                return dict(self._tally)
            self._try(one, go_on)
        self._pack_waiting(go_on)
        if go_on():
            self._review_untaken()
        return dict(self._tally)

    def _try(self, one: Pack, go_on: Callable[[], bool]) -> None:
        """Take one pack further; one that cannot be dealt with must not stop the others."""
        try:
            self._advance(one, go_on)
        except redis.RedisError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is: counted, told, and tried again later
            # Where it happened, and not what it says, which may quote a prompt or an answer.
            trace = "".join(traceback.format_tb(error.__traceback__))
            log.error("batch.failed pack=%s error=%s\n%s", one.id, type(error).__name__, trace)
            self._tally["failed_packs"] += 1
            self._packs.look_at(one, self._clock() + self.policy.busy_seconds)

    def _advance(self, one: Pack, go_on: Callable[[], bool]) -> None:
        try:
            if one.state == "filling":
                self._packs.step(one, ["filling"], "sealed", look_at=self._clock())
                self._submit(one)
            elif one.state == "sealed":
                self._submit(one)
            elif one.state == "submitting":
                self._resolve(one, go_on)
            else:
                self._follow(one, go_on)
        except NotTakenError as busy:
            log.info("batch.put_off pack=%s reason=%s", one.id, busy.reason)
            self._packs.look_at(one, self._clock() + self._pause(busy))

    def _pause(self, busy: NotTakenError) -> float:
        return self.policy.busy_seconds if busy.retry_in is None else max(1.0, busy.retry_in)

    def _pack_waiting(self, go_on: Callable[[], bool]) -> None:
        queued = sum(one.count for one in self._packs.all() if one.state in {"submitting", "submitted"})
        room = max(0, self.policy.max_queued_rows - queued)
        packing = pack(self._rows.candidates(_CANDIDATES), now=self._clock(), room=room, policy=self.policy)
        if packing.oversize:
            self._give_back(packing.oversize)
        for rows in packing.packs:
            if not go_on():
                return
            name = uuid4().hex
            self._packs.fill(name, rows, now=self._clock())
            filled = self._packs.get(name)
            if filled is not None:
                self._try(filled, go_on)

    def _give_back(self, oversize: Sequence[Candidate]) -> None:
        rows = self._rows.rows(one.id for one in oversize)
        marks = self._rows.marks(rows)
        log.warning("batch.too_large rows=%d", len(rows))
        self._rows.give_back(rows)
        self._desk.wake(set().union(*marks))
        self._tally["returned"] += len(rows)

    def _submit(self, one: Pack) -> None:
        found = self._rows_of(one)
        marks = self._rows.marks(found)
        prepared = self._desk.prepare(found, marks)
        rows = [row for row in found if row.id in prepared]
        if unwanted := [row for row in found if row.id not in prepared]:
            self._desk.wake(
                set().union(*(m for row, m in zip(found, marks, strict=True) if row.id not in prepared))
            )
            self._rows.drop(unwanted)
            self._tally["dropped"] += len(unwanted)
        if not rows:
            self._packs.close(one)
            return
        token, now = uuid4().hex, self._clock()
        rescues = [row.rescue_at for row in rows if row.rescue_at is not None]
        if not self._packs.step(
            one,
            ["sealed"],
            "submitting",
            look_at=now + self.policy.poll_seconds,
            count=len(rows),
            submitting_at=now,
            token=token,
            rescue_at=min(rescues) if rescues else "",
        ):
            return
        requests = [Request(row.custom_id or "", prepared[row.id]) for row in rows]
        self._send(one, rows, requests, token)

    def _send(self, one: Pack, rows: Sequence[Row], requests: Sequence[Request], token: str) -> None:
        try:
            remote = self._api.create(requests)
        except NotTakenError as busy:
            again = self._clock() + self._pause(busy)
            log.info("batch.put_off pack=%s reason=%s", one.id, busy.reason)
            self._packs.step(one, ["submitting"], "sealed", look_at=again, by=token)
            return
        except RejectedError as error:
            log.warning("batch.rejected pack=%s rows=%d error=%s", one.id, len(rows), error)
            self._conclude(one, [(row, "returned", {"kind": "rejected"}) for row in rows])
            self._packs.close(one)
            return
        except UnclearError as error:
            log.warning("batch.unclear pack=%s rows=%d error=%s", one.id, len(rows), error)
            self._tally["held"] += len(rows)
            return
        at = self._clock() + self.policy.poll_seconds
        if not self._packs.step(one, ["submitting"], "submitted", look_at=at, by=token, batch=remote.id):
            log.error("batch.superseded pack=%s batch=%s: it is cancelled", one.id, remote.id)
            self._api.cancel(remote.id)
            return
        log.info("batch.submitted batch=%s rows=%d model=%s", remote.id, len(rows), one.model)
        self._tally["submitted"] += len(rows)
        self._desk.tell(set().union(*self._rows.marks(rows)), f"in batch {remote.id}")

    def _resolve(self, one: Pack, go_on: Callable[[], bool]) -> None:
        """Find out whether a batch was made of a pack whose submission was not answered."""
        policy, now = self.policy, self._clock()
        ours = self._packs.rows(one)
        undecided = False
        for remote in self._suspects(one):
            if not remote.ended:
                undecided = True
                continue
            found = next(self._api.results(remote.id), RowResult("", "expired")).custom_id
            if found not in ours:
                if not self._is_ours(found):
                    self._packs.disown(remote.id, now)
                continue
            log.info("batch.recognised pack=%s batch=%s", one.id, remote.id)
            if self._packs.step(one, ["submitting"], "submitted", look_at=now, batch=remote.id):
                self._collect(one, remote.id, go_on)
            return
        if undecided or now < one.submitting_at + policy.submit_timeout_seconds + policy.settle_seconds:
            self._tally["held"] += len(ours)
            self._packs.look_at(one, now + policy.poll_seconds)
            return
        log.info("batch.never_made pack=%s", one.id)
        if self._packs.step(one, ["submitting"], "sealed", look_at=now, by=one.token):
            self._submit(one)

    def _is_ours(self, custom_id: str) -> bool:
        """Whether a batch with this row is another pack whose submission was not answered either."""
        unclear = [one for one in self._packs.all() if one.state == "submitting"]
        return any(custom_id in self._packs.rows(one) for one in unclear)

    def _suspects(self, one: Pack) -> list[RemoteBatch]:
        """Batches of unknown origin that a pack may have become."""
        first = one.submitting_at - self.policy.skew_seconds
        last = one.submitting_at + self.policy.submit_timeout_seconds + self.policy.skew_seconds
        found = []
        for remote in self._api.newest():
            if remote.created_at < first:
                break
            if remote.created_at <= last and remote.rows == one.count:
                found.append(remote)
        unknown = set(self._packs.unknown([remote.id for remote in found]))
        return [remote for remote in found if remote.id in unknown]

    def _follow(self, one: Pack, go_on: Callable[[], bool]) -> None:
        now = self._clock()
        remote = self._api.retrieve(one.batch)
        if remote is None:
            self._miss(one, now)
        elif remote.ended:
            self._collect(one, one.batch, go_on)
        elif one.rescue_at is not None and one.rescue_at <= now and not one.cancelled:
            log.info("batch.cancelled batch=%s: rows of it cannot wait any longer", one.batch)
            self._api.cancel(one.batch)
            self._packs.look_at(
                one, now + min(self.policy.busy_seconds, self.policy.poll_seconds), cancelled=1
            )
        else:
            self._packs.look_at(one, now + self.policy.poll_seconds)

    def _miss(self, one: Pack, now: float) -> None:
        """It may be that only this key cannot see the batch: its rows wait for as long as it may live."""
        log.warning("batch.missing batch=%s", one.batch)
        if now < one.submitting_at + _LONGEST_LIFE_SECONDS:
            self._packs.look_at(one, now + self.policy.poll_seconds)
            return
        self._conclude(one, [self._sent_again(row, "missing", one.batch) for row in self._rows_of(one)])
        self._packs.close(one)

    def _collect(self, one: Pack, batch: str, go_on: Callable[[], bool]) -> None:
        left = self._packs.rows(one)
        for results in _chunks(self._api.results(batch), _RESULTS_AT_ONCE):
            if not go_on():
                return
            ours = {result.custom_id: result for result in results if result.custom_id in left}
            rows = self._rows.rows(left.pop(custom_id) for custom_id in ours)
            # a row that was forgotten, or has been sent again since, is merely crossed off
            present = [row for row in rows if row.custom_id in ours]
            self._conclude(one, [self._ending(row, ours[row.custom_id or ""], batch) for row in present])
            self._packs.settle(one, ours)
        rest = [row for row in self._rows.rows(left.values()) if row.custom_id in left]
        self._conclude(one, [self._sent_again(row, "missing", batch) for row in rest])
        self._packs.close(one)
        log.info("batch.collected batch=%s", batch)

    def _ending(self, row: Row, result: RowResult, batch: str) -> tuple[Row, RowState, dict[str, Any]]:
        if result.ending == "succeeded":
            return row, "landed", {"kind": "succeeded", "message": dict(result.message or {}), "batch": batch}
        if result.ending == "errored" and not result.passing:
            return row, "landed", {"kind": "failed", "error": dict(result.error or {}), "batch": batch}
        return self._sent_again(row, result.ending, batch)

    def _sent_again(self, row: Row, kind: str, batch: str) -> tuple[Row, RowState, dict[str, Any]]:
        """Into another batch, or through the ordinary API where the time or the tries are used up."""
        in_time = row.rescue_at is None or row.rescue_at > self._clock()
        state: RowState = "waiting" if in_time and row.sends < self.policy.max_sends else "returned"
        return row, state, {"kind": kind, "batch": batch}

    def _conclude(self, one: Pack, endings: Sequence[tuple[Row, RowState, dict[str, Any]]]) -> None:
        """Note, wake, cross off: in this order."""
        if not endings:
            return
        landings = [Landing(*ending) for ending in endings]
        done = [landing for landing, so in zip(landings, self._rows.land(landings), strict=True) if so]
        for landing in done:
            self._tally["again" if landing.state == "waiting" else landing.state] += 1
        told = [landing for landing in done if landing.state != "waiting"]
        marks = self._rows.marks([landing.row for landing in told])
        paid = [
            (landing, members)
            for landing, members in zip(told, marks, strict=True)
            if landing.outcome["kind"] == "succeeded"
        ]
        self._write_off([landing for landing, _ in paid], [members for _, members in paid])
        self._desk.wake(set().union(*marks))
        self._packs.settle(one, [landing.row.custom_id or "" for landing in landings])

    def _write_off(self, landings: Sequence[Landing], marks: Sequence[Iterable[str]]) -> None:
        for landing, wanted in zip(landings, self._desk.wanted(marks), strict=True):
            if not wanted and self._rows.write_off(landing.row):
                log.warning("batch.unwanted row=%s", landing.row.id)
                self._tally["unwanted"] += 1
                self._desk.write_off(landing.row, landing.outcome)

    def _review_untaken(self) -> None:
        """Answers that lie about: their steps were not woken, or will never come."""
        now = self._clock()
        rows = self._rows.untaken(now - UNTAKEN_SECONDS)
        if not rows:
            return
        marks = self._rows.marks(rows)
        self._rows.look_again(rows, now)
        self._write_off([Landing(row, row.state, row.outcome or {"kind": ""}) for row in rows], marks)
        self._desk.wake(set().union(*marks))

    def _rows_of(self, one: Pack) -> list[Row]:
        names = self._packs.rows(one)
        rows = [row for row in self._rows.rows(names.values()) if row.custom_id in names]
        if gone := names.keys() - {row.custom_id for row in rows}:
            self._packs.settle(one, gone)
        return rows


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while part := list(islice(items, size)):
        yield part
