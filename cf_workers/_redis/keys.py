"""Which keys exist in Redis, of which type, and for how long?

Every key is built here and begins with the namespace, `cfw` by default. Braces put the keys of a run into
one slot.

    run:{ID}                  hash    while active 30 d, then retention   the run record
    run:{ID}:steps            hash    as the run            step -> state, fence, attempts, deaths
    run:{ID}:results          hash    as the run            step -> result without its output
    run:{ID}:outputs          hash    as the run            step -> output text
    run:{ID}:order            list    as the run            steps in the order in which they ended
    run:{ID}:events           stream  as the run            what happened
    definition:{DIGEST}       string  as its last user      a pinned plan or agent definition
    definition:{DIGEST}:users set     as its last user      active runs that are pinned to it
    idempotency:DIGEST        string  30 d                  run id
    schedule:{NAME}           hash    400 d after a tick    its times, up to when it ticked, its latest run
    schedule:{NAME}:waiting   zset    400 d after a tick    ticks that wait for the end of that run
    worker:ID                 string  3 heartbeats          what a worker says of itself
    reconciler                string  3 ticks               who reconciles
    guard:{CRED}:spend        hash    until it may pass     why nothing is spent, and until when
    guard:{CRED}:CLASS:breaker  hash  1 d after last use    state, cooldown, outcomes in a sliding window
    guard:{CRED}:CLASS:gate     hash  as long as closed     closed until, and why
    guard:{CRED}:CLASS:buckets  hash  1 d after last use    level and learnt limit of each token bucket
    guard:{CRED}:CLASS:window   hash  1 d after last use    how many calls may be in flight
    guard:{CRED}:CLASS:flights  zset  1 d after last use    permit -> when its lease ends
    guard:{CRED}:CLASS:permits  hash  1 d after last use    permit -> what it reserved
    guard:{CRED}:CLASS:probes   zset  1 d after last use    probing permit -> when its lease ends
    guard:{CRED}:CLASS:line     hash  1 d after last use    tenants: virtual time, weight, waiters, next turn
    guard:{CRED}:CLASS:waiters  zset  1 d after last use    lane, tenant, waiter -> when it asks again
    guard:{CRED}:CLASS:waiting  hash  1 d after last use    lane, tenant, waiter -> turns left, reason
    runs                      zset    permanent, trimmed    run id -> created at
    active                    zset    permanent, drains     run id -> deadline
    claims                    zset    permanent, drains     run, step, fence -> last renewed
    due                       zset    permanent, drains     run, step -> when its retry is due
    parked                    zset    permanent, drains     run, step -> when it may be tried
    workers                   zset    permanent, trimmed    worker id -> last heartbeat
    guards                    zset    permanent, trimmed    credential, model class -> last used
    guards:changes            stream  permanent, trimmed    when which breaker opened, closed, and why
    counters                  hash    permanent             totals, e.g. calls that were lost
    daily:DATE                hash    400 d                 workflow, agent, model, measure -> sum of that day
    samples:AGENT:MODEL       list    90 d after last use   what the latest executions took, and cost
    budgets                   hash    permanent, trimmed    scope -> amount that was set by hand
    budgets:used              zset    permanent, trimmed    account -> last used
    budgets:leases            zset    permanent, drains     reservation -> when its lease ends
    budget:ACCOUNT            hash    40 d or 400 d after last use  spent, reserved, uncertain, amount
    budget:ACCOUNT:waiting    zset    1 d after last use    step that waits for money -> since when
    reservation:ID            string  lease and 1 d         what is put aside for a call, in which accounts
    dead-letters              zset    permanent, trimmed    run, step -> when it was given up
    dead-letter:ID            string  as a run that ended   what is known of a step that was given up

    prefix:{DIGEST}           hash    10 s, warm 4.5 min    who writes a prompt prefix, or that it can be read
    prefix:{DIGEST}:waiters   zset    1 d                   steps parked until its reply begins, by arrival

The response cache; N is the number of a shard and the hash tag of all its keys. "Cache" as a lifetime: the
time to live of the entry that was stored last, its stale time and a day more.

    cache:{N}:entries           hash    cache       digest -> signed entry
    cache:{N}:index             hash    cache       digest -> its size, times and tags
    cache:{N}:lru               zset    cache       digest -> number of its last access
    cache:{N}:expiry            zset    cache       digest -> when it goes
    cache:{N}:state             hash    cache       bytes stored, number of the last access
    cache:{N}:counters          hash    permanent   hits, misses, evictions, savings
    cache:{N}:flight:DIGEST     hash    2 leases    who makes this call
    cache:{N}:waiters:DIGEST    zset    1 d         who waits for it, by arrival
    cache:{N}:outcomes:DIGEST   hash    10 min      what a waiter is told when no answer was stored
    cache:secret                string  permanent   the signing secret, in development only

The batch lane. A mark names one try of a step to get an answer: run, step, attempt of the run, calls made.

    batches:row:{ID}          hash    30 d, landed: retention  one call that goes into a batch, and its answer
    batches:row:{ID}:marks    set     as the row               who waits for it
    batches:mark:DIGEST       string  30 d                     mark -> row, or `-`: it goes by itself
    batches:open:KEY          string  30 d                     fingerprint -> row that has not landed
    batches:pack:{ID}         hash    30 d                     rows of one batch: state, size, batch id
    batches:pack:{ID}:rows    hash    30 d                     custom id -> row, of those without a result
    batches:poller            string  lease                    who polls
    batches:asked             string  10 s                     a poll has been published
    batches:waiting           zset    permanent, drains        row -> since when it waits for a batch
    batches:landed            zset    permanent, drains        row with an answer nobody took -> last look
    batches:packs             zset    permanent, drains        pack -> when to look at it
    batches:known             zset    permanent, trimmed       batch id, ours or certainly not -> when seen
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

PERMANENT = (
    "runs",
    "active",
    "claims",
    "due",
    "parked",
    "workers",
    "guards",
    "guards:changes",
    "counters",
    "budgets",
    "budgets:used",
    "budgets:leases",
    "dead-letters",
    "cache:{*}:counters",
    "cache:secret",
    "batches:waiting",
    "batches:landed",
    "batches:packs",
    "batches:known",
)
"""Patterns of keys without a TTL, after the namespace. Each is bounded by what is active or by trimming."""


@dataclass(frozen=True)
class RunKeys:
    """The keys of one run, all in one slot."""

    run: str
    steps: str
    results: str
    outputs: str
    order: str
    events: str

    def all(self) -> tuple[str, ...]:
        return (self.run, self.steps, self.results, self.outputs, self.order, self.events)


@dataclass(frozen=True)
class GuardKeys:
    """The keys that guard one credential's calls to a class of models; those of a credential in one slot."""

    spend: str
    breaker: str
    gate: str
    buckets: str
    window: str
    flights: str
    permits: str
    probes: str
    line: str
    waiters: str
    waiting: str


@dataclass(frozen=True)
class CacheShardKeys:
    """The keys of one shard of the response cache, all in one slot."""

    entries: str
    index: str
    lru: str
    expiry: str
    state: str
    counters: str


@dataclass(frozen=True)
class FlightKeys:
    """The keys of one call in flight, in the slot of its shard."""

    flight: str
    waiters: str
    outcomes: str


@dataclass(frozen=True)
class BatchKeys:
    """The keys of the batch lane that exist once."""

    poller: str
    asked: str
    waiting: str
    landed: str
    packs: str
    known: str


@dataclass(frozen=True)
class Keys:
    """All keys of one namespace."""

    namespace: str = "cfw"

    def run(self, run: str) -> RunKeys:
        base = f"{self.namespace}:run:{{{run}}}"
        return RunKeys(
            base, f"{base}:steps", f"{base}:results", f"{base}:outputs", f"{base}:order", f"{base}:events"
        )

    def definition(self, digest: str) -> str:
        return f"{self.namespace}:definition:{{{digest}}}"

    def definition_users(self, digest: str) -> str:
        return f"{self.namespace}:definition:{{{digest}}}:users"

    def idempotency(self, key: str) -> str:
        return f"{self.namespace}:idempotency:{hashlib.sha256(key.encode()).hexdigest()}"

    def schedule(self, name: str) -> str:
        return f"{self.namespace}:schedule:{{{name}}}"

    def schedule_waiting(self, name: str) -> str:
        return f"{self.namespace}:schedule:{{{name}}}:waiting"

    @property
    def runs(self) -> str:
        return f"{self.namespace}:runs"

    @property
    def active(self) -> str:
        return f"{self.namespace}:active"

    @property
    def claims(self) -> str:
        return f"{self.namespace}:claims"

    @property
    def due(self) -> str:
        return f"{self.namespace}:due"

    @property
    def parked(self) -> str:
        return f"{self.namespace}:parked"

    @property
    def workers(self) -> str:
        return f"{self.namespace}:workers"

    def worker(self, worker: str) -> str:
        return f"{self.namespace}:worker:{worker}"

    @property
    def reconciler(self) -> str:
        return f"{self.namespace}:reconciler"

    def guard(self, credential: str, model_class: str) -> GuardKeys:
        shared = f"{self.namespace}:guard:{{{credential}}}"
        base = f"{shared}:{model_class}"
        own = [field.name for field in fields(GuardKeys) if field.name != "spend"]
        return GuardKeys(spend=f"{shared}:spend", **{name: f"{base}:{name}" for name in own})

    @property
    def guards(self) -> str:
        return f"{self.namespace}:guards"

    @property
    def guard_changes(self) -> str:
        return f"{self.namespace}:guards:changes"

    @property
    def counters(self) -> str:
        return f"{self.namespace}:counters"

    def daily(self, date: str) -> str:
        return f"{self.namespace}:daily:{date}"

    def samples(self, agent: str, model: str) -> str:
        return f"{self.namespace}:samples:{agent}:{model}"

    @property
    def budgets(self) -> str:
        return f"{self.namespace}:budgets"

    @property
    def budgets_used(self) -> str:
        return f"{self.namespace}:budgets:used"

    @property
    def budget_leases(self) -> str:
        return f"{self.namespace}:budgets:leases"

    def budget(self, account: str) -> str:
        return f"{self.namespace}:budget:{account}"

    def budget_waiting(self, account: str) -> str:
        return f"{self.namespace}:budget:{account}:waiting"

    def reservation(self, id: str) -> str:
        return f"{self.namespace}:reservation:{id}"

    @property
    def dead_letters(self) -> str:
        return f"{self.namespace}:dead-letters"

    def dead_letter(self, id: str) -> str:
        return f"{self.namespace}:dead-letter:{id}"

    def prefix(self, digest: str) -> str:
        return f"{self.namespace}:prefix:{{{digest}}}"

    def prefix_waiters(self, digest: str) -> str:
        return f"{self.namespace}:prefix:{{{digest}}}:waiters"

    def cache_shard(self, shard: int) -> CacheShardKeys:
        base = f"{self.namespace}:cache:{{{shard}}}"
        return CacheShardKeys(
            f"{base}:entries",
            f"{base}:index",
            f"{base}:lru",
            f"{base}:expiry",
            f"{base}:state",
            f"{base}:counters",
        )

    def cache_flight(self, shard: int, digest: str) -> FlightKeys:
        base = f"{self.namespace}:cache:{{{shard}}}"
        return FlightKeys(
            f"{base}:flight:{digest}",
            f"{base}:waiters:{digest}",
            f"{base}:outcomes:{digest}",
        )

    @property
    def cache_secret(self) -> str:
        return f"{self.namespace}:cache:secret"

    @property
    def batches(self) -> BatchKeys:
        base = f"{self.namespace}:batches"
        return BatchKeys(*(f"{base}:{field.name}" for field in fields(BatchKeys)))

    def batch_row(self, row: str) -> str:
        return f"{self.namespace}:batches:row:{{{row}}}"

    def batch_row_marks(self, row: str) -> str:
        return f"{self.namespace}:batches:row:{{{row}}}:marks"

    def batch_mark(self, mark: str) -> str:
        return f"{self.namespace}:batches:mark:{hashlib.sha256(mark.encode()).hexdigest()}"

    def batch_open(self, key: str) -> str:
        return f"{self.namespace}:batches:open:{key}"

    def batch_pack(self, pack: str) -> str:
        return f"{self.namespace}:batches:pack:{{{pack}}}"

    def batch_pack_rows(self, pack: str) -> str:
        return f"{self.namespace}:batches:pack:{{{pack}}}:rows"
