"""Where does the demo play? On a server, a worker and, unless it is real, an API that exist for it alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cf_workers.cli.companions import Companion, leaving_on_sigterm
from cf_workers.errors import NoWorkerError, UnreachableError

if TYPE_CHECKING:
    from cf_workers.client import Client

PROJECT = Path(__file__).parent / "demo_project" / ".claude" / "claude.json"
READY_WITHIN = 40.0
READY = " ready."
"""What a worker says when it takes work; it is listed as alive a little earlier."""
STOPPED_WITHIN = 10.0
LOOK_AGAIN = 0.05
LATENCY_SECONDS = ("1.0", "0.25")
"""Median of the stand-in's replies, and the sigma of their distribution."""
CONCURRENCY = "10"

_OURS = ("CF_WORKERS_", "CELERY_")
_THEIRS = ("ANTHROPIC_",)
Say = Callable[[str], object]


@contextmanager
def stage(*, real: bool, say: Say) -> Iterator[Client]:
    """A client of a stack that exists for this block alone.

    Args:
        real: ask the real API with the caller's own key.
        say: told what is started, a sentence each.

    Raises:
        UnreachableError: a part does not start.
    """
    from cf_workers.client import Client

    with ExitStack() as stack:
        stack.enter_context(leaving_on_sigterm())
        stack.enter_context(_without_settings(_OURS if real else (*_OURS, *_THEIRS)))
        temporary = TemporaryDirectory(prefix="cf-workers-demo-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        environ = {"CF_WORKERS_CONFIG": str(PROJECT), "CF_WORKERS_WORKER__CONCURRENCY": CONCURRENCY}
        if not real:
            environ |= _stand_in(stack, folder, say)
        url = stack.enter_context(_server(folder, say))
        environ |= {"CF_WORKERS_REDIS_URL": url}
        client = stack.enter_context(Client(PROJECT, redis_url=url))
        say("starting a worker: celery -A cf_workers worker")
        log = folder / "worker.log"
        command = ("-A", "cf_workers", "worker", "--loglevel", "INFO")
        worker = Companion("celery", *command, log=log, environ={**os.environ, **environ})
        stack.callback(worker.stop, patience=2.0)
        if not _within(READY_WITHIN, lambda: READY in log.read_text(errors="replace"), worker):
            raise NoWorkerError("the demo's worker did not start", {"hint": _last_line(log)})
        yield client


def _stand_in(stack: ExitStack, folder: Path, say: Say) -> dict[str, str]:
    """Start the simulated API; what a worker needs to ask it."""
    url_file, log = folder / "api-url", folder / "api.log"
    median, sigma = LATENCY_SECONDS
    say(f"starting the SIMULATED Anthropic API: cf-workers simulate-api --latency {median}")
    arguments = ("--url-file", str(url_file), "--latency", median, "--latency-sigma", sigma)
    api = Companion("cf_workers.simulator", *arguments, log=log, environ=os.environ)
    stack.callback(api.stop, patience=2.0)
    if not _within(READY_WITHIN, url_file.exists, api):
        raise UnreachableError("the stand-in for the API did not start", {"hint": _last_line(log)})
    local = "127.0.0.1,localhost"
    return {
        "ANTHROPIC_BASE_URL": url_file.read_text("utf-8").strip(),
        "ANTHROPIC_API_KEY": "simulated",
        "NO_PROXY": local,
        "no_proxy": local,
    }


@contextmanager
def _server(folder: Path, say: Say) -> Iterator[str]:
    """An embedded Valkey in a folder of its own; it has ended when the block is left."""
    from cf_workers.embedded import StateDir, join_or_start, state_dir_for
    from cf_workers.embedded.locks import is_held

    path = state_dir_for(folder, {"XDG_STATE_HOME": str(folder / "state")})
    say("starting a server: Valkey, embedded")
    server = join_or_start(path, lambda _: None)
    try:
        yield server.url
    finally:
        server.close()
        state = StateDir(path)
        _within(STOPPED_WITHIN, lambda: not is_held(state.guard_lock))


@contextmanager
def _without_settings(prefixes: tuple[str, ...]) -> Iterator[None]:
    """No setting of the caller's own reaches the demo, and nothing of it the caller's servers."""
    names = [name for name in os.environ if name.startswith(prefixes) or name == "REDIS_URL"]
    kept: Mapping[str, str] = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(kept)


def _within(seconds: float, done: Callable[[], object], process: Companion | None = None) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline or (process is not None and not process.running):
            return False
        time.sleep(LOOK_AGAIN)
    return True


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")
