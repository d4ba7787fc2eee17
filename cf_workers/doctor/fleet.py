"""Is there somebody for all the work, and may all of them work?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cf_workers.doctor.findings import ADVICE, OK, PROBLEM, Finding
from cf_workers.reliability.queues import QueueState

_START = "celery -A cf_workers worker"


def fleet_findings(
    workers: Sequence[Mapping[str, Any]], queues: Sequence[QueueState], *, cap: int | None, embedded: bool
) -> Iterator[Finding]:
    """Everything about the workers of one namespace.

    Args:
        workers: what each living one says of itself.
        cap: `max_concurrent_agents`.
        embedded: whether the server is this project's own, for which commands start workers as needed.
    """
    served = {queue for worker in workers for queue in worker["queues"]}
    waiting = [state for state in queues if state.length and state.name not in served]
    idle = [state.name for state in queues if not state.length and state.name not in served]
    for state in waiting:
        says = f"{state.length} messages wait in queue {state.name!r}, and no worker takes from it"
        yield Finding(
            "queues", PROBLEM, says, f"start one: `{_START} -Q {state.name}`, or without -Q for all"
        )
    if not workers and embedded:
        yield Finding(
            "workers", OK, "none is alive; commands that wait start one, and so does `cf-workers up`"
        )
    elif not workers:
        yield Finding("workers", PROBLEM, "none is alive", f"start one: `{_START}`")
    else:
        yield Finding("workers", OK, f"{len(workers)} alive")
        if idle:
            says = f"no worker takes from {' and '.join(map(repr, idle))}"
            yield Finding("queues", ADVICE, says, f"start one for it: `{_START} -Q {','.join(idle)}`")
    slots = sum(int(worker.get("slots", 0)) for worker in workers)
    if cap is not None and slots > cap:
        says = f"max_concurrent_agents is {cap}, and the workers have {slots} slots: most of them stand idle"
        do = "raise or remove performance.max_concurrent_agents, or start fewer slots with --concurrency"
        yield Finding("slots", ADVICE, says, do)
