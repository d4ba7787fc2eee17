"""`cf-workers up`: the whole local stack in the foreground."""

from __future__ import annotations

import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import click

from cf_workers.cli.companions import attended_argv, attended_environ
from cf_workers.cli.output import counted, notice, print_document, styled, warn
from cf_workers.cli.procfile import PROCESSES
from cf_workers.cli.session import Count, Verb, session
from cf_workers.cli.supervisor import LOOK_AGAIN, Program, Supervisor
from cf_workers.errors import ConfigError

if TYPE_CHECKING:
    from cf_workers.application import Context
    from cf_workers.client import Client
    from cf_workers.embedded import EmbeddedServer

FLOWER_PORT, FLOWER_ADDRESS = 5555, "127.0.0.1"
READY = {"worker": " ready.", "beat": "beat: Starting", "flower": "Visit me at"}
STAGES = {"worker": 0, "beat": 1, "flower": 2}
ORPHAN_PATIENCE = 60.0
STOPPED_WITHIN = 15.0
BROKEN, INTERRUPTED = 1, 130
_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")


@click.command("up", cls=Verb)
@click.option("--workers", type=Count(min=1), default=1, show_default=True, help="How many.")
@click.option("--beat/--no-beat", default=True, help="Whether to start what starts scheduled runs.")
@click.option("--flower/--no-flower", default=True, help="Whether to start the dashboard.")
@click.option(
    "--flower-port",
    type=Count(0, 65_535),
    envvar="FLOWER_PORT",
    default=FLOWER_PORT,
    show_default=True,
    help="Port of the dashboard; 0 takes a free one.",
)
def up(workers: int, beat: bool, flower: bool, flower_port: int) -> None:
    """Run server, workers, beat and Flower until Ctrl-C, with one log.

    The server is this project's embedded Valkey, unless a URL is set. Ctrl-C stops the workers, which end
    what they have begun, then the rest; a second Ctrl-C stops all at once. What dies is started again.
    """
    from cf_workers.client import Client

    names = ["worker", *(["beat"] if beat else []), *(["flower"] if flower else [])]
    with Client(config=session().config, announce=notice) as client:
        _check_project(client)
        port = _free_port(flower_port) if flower else None
        client.ping()
        client.operations.queues()  # asks the broker
        _tell_what_is_missing(client)
        context = client.context
        programs = _programs(context, names, workers=workers, port=port)
        url = None if port is None else f"http://{_flower_address()}:{port}{_flower_prefix()}"
        log = _Log([program.name for program in programs])
        supervisor = Supervisor(
            programs, log.say, on_ready=lambda: _tell_ready(context, programs, url, log.say)
        )
        log.when_nobody_reads(supervisor.ask_to_stop)
        ended = supervisor.run()
    if context.embedded is not None:
        _await_server(context.embedded, log.say)
    if ended != "stopped":
        click.get_current_context().exit(BROKEN if ended == "broken" else INTERRUPTED)


def _check_project(client: Client) -> None:
    """Refuse a project file that nothing can be done with; one bad agent or workflow blocks only itself."""
    if client.project_path is None:
        warn("there is no project here: the workers serve runs that others start")
        return
    problems = client.project.problems
    if problems:
        found = counted(len(problems), "problem")
        warn(f"{client.project_path} has {found}; `cf-workers config validate` lists them")


def _tell_what_is_missing(client: Client) -> None:
    if not any(os.environ.get(name) for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")):
        warn(
            "ANTHROPIC_API_KEY is not set: every call will fail. Set it; or, to try without one, run "
            "`cf-workers simulate-api` elsewhere and start this with ANTHROPIC_BASE_URL set to the address "
            "that it prints and ANTHROPIC_API_KEY to anything."
        )
    if others := len(client.workers()):
        notice(f"{counted(others, 'worker')} of this server {'is' if others == 1 else 'are'} running already")


def _programs(context: Context, names: list[str], *, workers: int, port: int | None) -> list[Program]:
    environ = dict(os.environ)
    if context.project_path is not None:
        environ["CF_WORKERS_CONFIG"] = str(context.project_path.resolve())
    if port is not None:
        environ |= {"FLOWER_PORT": str(port), "FLOWER_ADDRESS": _flower_address()}
    programs = []
    for name in names:
        if name == "worker":
            programs += [_worker(n, context, environ) for n in range(1, workers + 1)]
        else:
            programs.append(_program(name, name, environ))
    return programs


def _worker(number: int, context: Context, environ: Mapping[str, str]) -> Program:
    """One of several workers on this machine: a name and a port for probes of its own each."""
    own = dict(environ)
    if context.settings.health.port:
        own["CF_WORKERS_HEALTH__PORT"] = str(context.settings.health.port + number - 1)
    return _program(f"worker-{number}", "worker", own, "--hostname", f"worker-{number}@%h")


def _program(name: str, kind: str, environ: Mapping[str, str], *more: str) -> Program:
    module, *args = shlex.split(PROCESSES[kind])
    return Program(
        name,
        attended_argv(module, *args, *more, patience=ORPHAN_PATIENCE),
        attended_environ(environ),
        ready=READY[kind],
        stage=STAGES[kind],
        drains=kind == "worker",
    )


def _flower_address() -> str:
    return os.environ.get("FLOWER_ADDRESS") or FLOWER_ADDRESS


def _flower_prefix() -> str:
    prefix = os.environ.get("FLOWER_URL_PREFIX", "").strip("/")
    return f"/{prefix}" if prefix else ""


def _free_port(wanted: int) -> int:
    """The port, if nobody has it.

    Raises:
        ConfigError: somebody has.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_flower_address(), wanted))
        except OSError as error:
            raise ConfigError(
                f"Flower cannot listen on {_flower_address()}:{wanted}: {error.strerror}",
                {"hint": "choose another port with --flower-port, or start without it: --no-flower"},
            ) from None
        return int(probe.getsockname()[1])


def _tell_ready(
    context: Context, programs: list[Program], url: str | None, say: Callable[[str, str], None]
) -> None:
    from cf_workers._redis import describe_url

    server = describe_url(context.redis_url)
    if session().json:
        print_document(
            {
                "success": True,
                "server": server,
                "embedded": context.embedded is not None,
                "processes": [program.name for program in programs],
                "flower": url,
            }
        )
    say("up", f"everything runs, on {server}; Ctrl-C stops it")
    if url is not None:
        say("up", f"Flower is at {url}")
    say("up", "in another terminal, for example: cf-workers agents list")


class _Log:
    """Prints lines with the names of those who wrote them, in colours on a terminal."""

    def __init__(self, names: list[str]) -> None:
        self._width = max(map(len, names))
        self._colours = dict(zip(names, cycle(_COLOURS), strict=False))
        self._to_stderr = session().json
        self._lock = threading.Lock()
        self._closed: Callable[[], None] | None = None

    def when_nobody_reads(self, act: Callable[[], None]) -> None:
        """Called once, when whoever read the log has had enough."""
        self._closed = act

    def say(self, name: str, line: str) -> None:
        label = styled(f"{name:<{self._width}} |", fg=self._colours.get(name), bold=name == "up")
        with self._lock:
            try:
                click.echo(f"{label} {line}", err=self._to_stderr)
            except OSError:
                closed, self._closed = self._closed, None
                if closed is not None:
                    closed()


def _await_server(embedded: EmbeddedServer, say: Callable[[str, str], None]) -> None:
    """Wait until the embedded server has ended, unless others use it."""
    from cf_workers.embedded import StateDir
    from cf_workers.embedded.locks import EXCLUSIVE, is_held, opened

    state = StateDir(embedded.state_dir)
    deadline = time.monotonic() + STOPPED_WITHIN
    with opened(state.users_lock) as users:
        unused = users.take(EXCLUSIVE) or not is_held(state.users_lock)
    if not unused:
        say("up", "the server goes on: another command uses it")
        return
    say("up", "stopping the server")
    while is_held(state.guard_lock) and time.monotonic() < deadline:
        time.sleep(LOOK_AGAIN)
