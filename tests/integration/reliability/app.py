"""A small Celery app that the tests run as real workers: `celery -A app worker`.

STOCK=1 runs the same tasks and settings on Celery as shipped.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, chord

from cf_workers.reliability import (
    ReliabilityPolicy,
    Token,
    install,
    reliable_configuration,
    surrender,
    token_for,
)

STOCK = os.environ.get("STOCK") == "1"
EVENTS = Path(os.environ["EVENTS"])
HEARTBEAT_FILE = os.environ.get("HEARTBEAT_FILE")


class RepairedTask(Task):
    Request = "cf_workers.reliability.request:Request"


app = Celery("app", task_cls=None if STOCK else RepairedTask, set_as_current=False)
app.conf.update(
    reliable_configuration(
        redis_url=os.environ["REDIS"],
        concurrency=int(os.environ.get("CONCURRENCY", "4")),
        queues=["interactive", "batch"],
        visibility_timeout=float(os.environ.get("VISIBILITY_TIMEOUT", "60")),
    ),
    result_backend=os.environ.get("RESULTS", os.environ["REDIS"]),
    result_backend_max_retries=1,
    worker_soft_shutdown_timeout=float(os.environ.get("SOFT_SHUTDOWN", "0")),
)
if STOCK:
    app.conf.worker_pool = "threads"
    if os.environ.get("STOCK_BACKEND") == "1":
        app.conf.result_backend_thread_safe = False
else:
    install(
        app,
        ReliabilityPolicy(
            requeue_delay=0.5,
            abandon_after=1.5,
            heartbeat_file=Path(HEARTBEAT_FILE) if HEARTBEAT_FILE else None,
            heartbeat_every=0.2,
            reserves={"batch": float(os.environ.get("BATCH_LEAVES", "0"))},
        ),
    )


def note(what: str, task: Any, **more: Any) -> None:
    line = json.dumps({"what": what, "id": task.request.id, "pid": os.getpid(), "at": time.time(), **more})
    with EVENTS.open("a") as file:
        file.write(line + "\n")


@app.task(bind=True, name="nap")
def nap(self: Any, seconds: float) -> str:
    """Sleep, and give way when asked to."""
    note("started", self)
    if STOCK:
        time.sleep(seconds)  # the work; Celery as shipped cannot ask it to give way
    else:
        token: Token = token_for(self.request.id)
        if token.wait(seconds):
            note("cancelled", self, reason=token.reason)
            raise surrender(token)
    note("ended", self)
    return "rested"


@app.task(bind=True, name="work")
def work(self: Any, bell: str) -> str:
    """Work until the test rings the bell, and give way when asked to."""
    note("started", self)
    while not Path(bell).exists():
        if STOCK:
            time.sleep(0.05)
        elif (token := token_for(self.request.id)).wait(0.05):
            note("cancelled", self, reason=token.reason)
            raise surrender(token)
    note("ended", self)
    return "done"


@app.task(bind=True, name="stubborn")
def stubborn(self: Any, bell: str) -> str:
    """Work until the test rings the bell, whatever anybody asks."""
    note("started", self)
    while not Path(bell).exists():
        time.sleep(0.05)
    note("ended", self)
    return "done"


@app.task(bind=True, name="leave_by_exit")
def leave_by_exit(self: Any) -> None:
    note("started", self)
    raise SystemExit(3)


@app.task(bind=True, name="out_of_memory_once")
def out_of_memory_once(self: Any, marker: str) -> str:
    note("started", self)
    path = Path(marker)
    if not path.exists():
        path.touch()
        raise MemoryError("too much")
    note("ended", self)
    return "fitted"


@app.task(bind=True, name="part")
def part(self: Any, needs: str) -> str:
    """A part of a chord; without the file that it needs it fails."""
    note("started", self)
    if not Path(needs).exists():
        raise FileNotFoundError(needs)
    note("ended", self)
    return "done"


@app.task(bind=True, name="joined")
def joined(self: Any) -> str:
    """The body of a chord."""
    note("joined", self)
    return "done"


_composed: dict[str, chord] = {}


@app.task(bind=True, name="compose")
def compose(self: Any, name: str, *needs: str) -> None:
    """Start a chord; the same one again for the same name."""
    made = _composed.get(name)
    if made is None:
        made = _composed[name] = chord([part.s(each) for each in needs], joined.si())
        made.freeze()
    note("composed", self, body=made.apply_async().id)


if os.environ.get("BLIP") == "1":
    from celery.backends.redis import RedisBackend

    _report = RedisBackend.on_chord_part_return
    _seen: set[str] = set()

    def _blip(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Lose the connection once for each part, after its success was stored."""
        if request.id in _seen:
            return _report(self, request, *args, **kwargs)
        _seen.add(request.id)
        raise ConnectionError("the server is away")

    RedisBackend.on_chord_part_return = _blip


class PlainTask(Task):
    Request = "celery.worker.request:Request"


@app.task(bind=True, name="plain_work", base=PlainTask)
def plain_work(self: Any, bell: str) -> str:
    """A task with Celery's own request class, in our pool."""
    return work.run.__func__(self, bell)
