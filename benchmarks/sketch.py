"""The peer of `overhead.py`: a graph released by flat groups and chords, and nothing else.

No claims, no fences, no commit, no records of steps, no retries, no reconciler, no model: what the bare
mechanism costs on this machine. Never to be used for work.

    REDIS=redis://... celery -A sketch worker -P threads -c 100

With the arguments of `messages.create` in SKETCH_REQUEST, as JSON, the steps of runs that ask for it make that
call of the SDK: the least that a step can cost which asks a model.
"""

from __future__ import annotations

import functools
import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from celery import Celery, Signature, group, states
from celery.app.task import Context

if TYPE_CHECKING:
    import anthropic

URL = os.environ.get("REDIS", "redis://127.0.0.1:6379/0")
END = "(end)"
_REQUEST = json.loads(os.environ.get("SKETCH_REQUEST", "{}"))

app = Celery("sketch", broker=URL, backend=URL, set_as_current=False)
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=1)


def connect(url: str) -> None:
    """Use this server instead of that of the environment; before anything else."""
    app.conf.update(broker_url=url, result_backend=url)


def start(dependencies: Mapping[str, Sequence[str]], *, calls: bool = False) -> str:
    """Record the run, size every join, publish the roots as one group; returns the run's id.

    Args:
        calls: whether each step makes a call of the SDK.
    """
    run = uuid.uuid4().hex
    feeds: dict[str, list[str]] = {}
    for step, ups in dependencies.items():
        for up in ups:
            feeds.setdefault(up, []).append(step)
    last = [step for step in dependencies if step not in feeds]
    waits = {**dependencies, END: last}
    for step in last:
        feeds[step] = [END]
    record = {"waits": waits, "feeds": feeds, "calls": calls}
    app.backend.client.set(f"run:{{{run}}}", json.dumps(record), ex=3600)
    for step, ups in waits.items():
        if len(ups) > 1:
            app.backend.set_chord_size(_join(run, step), len(ups))
    group([_body(run, step) for step, ups in waits.items() if not ups], app=app).apply_async()
    return run


def wait(run: str, timeout: int = 60) -> float:
    """When the last join ran, in Unix seconds.

    Raises:
        TimeoutError: it did not.
    """
    found = app.backend.client.blpop(f"done:{{{run}}}", timeout=timeout)
    if found is None:
        raise TimeoutError(f"the sketch's run {run!r} did not end within {timeout} s")
    return float(found[1])


@app.task
def execute_step(run: str, step: str) -> None:
    """A step that does nothing, or makes one call, and releases what waits for it."""
    record = json.loads(app.backend.client.get(f"run:{{{run}}}"))
    if record["calls"]:
        _sdk().messages.create(**_REQUEST)
    ready = []
    for successor in record["feeds"].get(step, []):
        ups = record["waits"][successor]
        if len(ups) == 1:
            ready.append(_body(run, successor))
            continue
        body = _body(run, successor)
        body["chord_size"] = len(ups)
        part = Context(
            id=f"{step}>{successor}", group=_join(run, successor), group_index=ups.index(step), chord=body
        )
        app.backend.on_chord_part_return(part, states.SUCCESS, None)
    if ready:
        group(ready, app=app).apply_async()


@app.task
def finish(run: str) -> None:
    """The join of all last steps."""
    app.backend.client.rpush(f"done:{{{run}}}", time.time())
    app.backend.client.expire(f"done:{{{run}}}", 3600)


@functools.cache
def _sdk() -> anthropic.Anthropic:
    import anthropic

    return anthropic.Anthropic(max_retries=0)


def _join(run: str, step: str) -> str:
    return f"{{{run}}}:{step}"


def _body(run: str, step: str) -> Signature:
    signature: Signature = finish.si(run) if step == END else execute_step.si(run, step)
    return signature
