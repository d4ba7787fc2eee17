"""The task that has answers made before anybody asks for them, for beat or anybody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Task

from cf_workers.errors import CfWorkersError, InputError
from cf_workers.tasks import runtime as runtimes
from cf_workers.tasks.agent import run_agent
from cf_workers.tasks.app import app
from cf_workers.warming import Line, Warmer
from cf_workers.wire import BATCH, WARM_CACHE


class WarmCacheTask(Task):
    """Shows its arguments in neither logs nor events: lines hold prompts."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Publish as any task."""
        return super().apply_async(args, kwargs, **{"argsrepr": "(…)", "kwargsrepr": "{…}", **options})


@app.task(base=WarmCacheTask, name=WARM_CACHE, ignore_result=False, acks_late=True, throws=(CfWorkersError,))
def warm_cache(source: str | Sequence[str]) -> dict[str, Any]:
    """Enqueue, on the queue `batch`, every call whose answer is not in the cache; `cf-workers cache warm`.

    Nothing is waited for: no slot is held while the calls are made. Answers that are known cost nothing, so
    the task may come as often as one likes; the same call twice at the same time is made once. In a beat
    schedule:

        from cf_workers.celery import app

        app.conf.beat_schedule = {
            "warm the cache": {
                "task": "cf_workers.warm_cache",
                "schedule": crontab(hour=5, minute=0),
                "args": ("warm.jsonl",),
                "options": {"queue": "batch"},
            },
        }

    Args:
        source: a file in the worker's project, relative to the folder that `.claude` is in, with one
            `{"agent": …, "task": …}` a line; or the lines themselves.

    Returns:
        How many lines there are, how many of them are `known` already, and how many were `enqueued`.

    Raises:
        InputError: the file or lines of it cannot be used; all of these are named, and nothing was enqueued.
        ServerUnreachableError: the cache's server fails.
    """
    warmer = runtimes.current().warmer
    lines = _lines(warmer, source)
    unknown = [line for line in lines if not warmer.knows(line)]
    for line in unknown:
        run_agent.apply_async((line.agent, line.task), dict(line.options), queue=BATCH)
    return {"lines": len(lines), "known": len(lines) - len(unknown), "enqueued": len(unknown)}


def _lines(warmer: Warmer, source: str | Sequence[str]) -> list[Line]:
    if isinstance(source, str):
        return warmer.read_file(source)
    if isinstance(source, Sequence) and all(isinstance(text, str) for text in source):
        return warmer.read(source)
    raise InputError(
        f"warm_cache takes the path of a file or a list of lines, not {type(source).__name__}",
        {"hint": 'warm_cache.delay("warm.jsonl")'},
    )
