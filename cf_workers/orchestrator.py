"""How does a program written for the in-process orchestrators run on workers? By changing its import line.

    from cf_workers import AgentOrchestrator

    with AgentOrchestrator() as orchestrator:
        print(orchestrator.run_agent("code-reviewer", "Review this diff: …").output)

The old names on top of `Client`; new programs use that. What has a new home is accepted and said once:
sampling temperature is no longer sent, the key and the cache's bounds belong to the workers, and executions
are always recorded.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Self

from cf_workers.cli.workforce import Workforce
from cf_workers.client import Client, ExecutionHandle, RunHandle, RunResult
from cf_workers.errors import CfWorkersError, InputError, UnreachableError
from cf_workers.planning import WorkflowOptions
from cf_workers.wire import CONTROL, INTERACTIVE

_ELSEWHERE = {
    "api_key": "calls are made by the workers, with the ANTHROPIC_API_KEY of their environment",
    "anthropic_api_key": "calls are made by the workers, with the ANTHROPIC_API_KEY of their environment",
    "cache_ttl_hours": "the cache is shared; set cache.ttl_hours in claude.json",
    "cache_max_size_mb": "the cache is shared; set cache.max_size_mb in claude.json",
    "temperature": "current models do not take it; it is not sent",
}
_OF_STEPS = {"model": "name it in the agent or the step", "max_tokens": "set it in the agent or the step"}
_NOT_USED = {"workflow_name", "workflow_position", "use_memory", "auto_select_model"}


@dataclass
class AgentResult:
    """What came of one execution.

    Args:
        metadata: as `execute --json` prints it: model, tokens, time, cost, attempts.
        errors: why it failed, in sentences; empty when it did not.
    """

    agent_name: str
    success: bool
    output: str
    metadata: dict[str, Any]
    errors: list[str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


AsyncAgentResult = AgentResult


class _Orchestrator:
    """What both have in common.

    Args:
        config_path: the project's `claude.json`; found as the command line finds it if not given.
        max_concurrent: how many executions of `execute_multiple` are enqueued at once.
        timeout_seconds: of one attempt; the project's own if not given.
        max_retries: further requests after the first; the project's own if not given.
        enable_cache: whether a known answer may be given without asking again.
        enable_tracking: accepted; every execution is recorded.
        enable_memory: accepted; there is no agent memory.
        api_key, anthropic_api_key, cache_ttl_hours, cache_max_size_mb: accepted; where they are set now is
            said.
    """

    def __init__(  # noqa: PLR0917 - the order of old programs
        self,
        config_path: str | Path | None = None,
        api_key: str | None = None,
        max_concurrent: int = 10,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        enable_cache: bool = True,
        cache_ttl_hours: float | None = None,
        cache_max_size_mb: float | None = None,
        enable_tracking: bool = True,  # noqa: ARG002 - accepted for old programs
        enable_memory: bool = True,  # noqa: ARG002 - accepted for old programs
        anthropic_api_key: str | None = None,
    ) -> None:
        if max_concurrent < 1:
            raise InputError(f"max_concurrent is {max_concurrent}", {"hint": "give a number above 0"})
        given = {
            "api_key": api_key,
            "anthropic_api_key": anthropic_api_key,
            "cache_ttl_hours": cache_ttl_hours,
            "cache_max_size_mb": cache_max_size_mb,
        }
        _say_where(name for name, value in given.items() if value is not None)
        self.max_concurrent = max_concurrent
        self._config = config_path
        self._defaults = {
            "timeout_seconds": timeout_seconds,
            "max_retries": max_retries,
            "cacheable": None if enable_cache else False,
        }
        self._hiring = Lock()

    @cached_property
    def client(self) -> Client:
        """What this stands on."""
        return Client(config=self._config)

    def list_agents(self) -> list[dict[str, Any]]:
        """The project's agents, by priority."""
        project = self.client.project
        entries = [project.entry(name) for name in project.agent_names]
        return [
            {"name": e.name, "file": e.file, "domains": list(e.domains), "priority": e.priority}
            for e in entries
        ]

    def list_workflows(self) -> dict[str, list[str]]:
        """The agents of each workflow, in the order of its steps."""
        project = self.client.project
        names = project.workflow_names
        return {name: [step.agent for step in project.workflow(name).steps] for name in names}

    def get_agent_info(self, agent_name: str) -> dict[str, Any]:
        """What the project says of an agent, with the beginning of its definition.

        Raises:
            UnknownAgentError: the project has none of that name.
        """
        entry = self.client.project.entry(agent_name)
        definition = self.client.project.agent(agent_name)
        return {
            "name": entry.name,
            "file": entry.file,
            "contract": entry.contract or "",
            "domains": list(entry.domains),
            "priority": entry.priority,
            "description": "\n".join(definition.text.splitlines()[:10]),
        }

    @cached_property
    def _workforce(self) -> Workforce:
        return Workforce(self.client, (INTERACTIVE, CONTROL))

    def _require_workers(self) -> None:
        with self._hiring:
            self._workforce.require()

    def _submit(self, agent_name: str, task: str, options: Mapping[str, Any]) -> ExecutionHandle:
        chosen = {**self._defaults, **_current(options)}
        with _value_errors():
            if known := self.client.recall(agent_name, task, **chosen):
                return known
            self._require_workers()
            return self.client.submit(agent_name, task, **chosen)

    def _start(self, workflow_name: str, task: str | None, pass_output: bool) -> RunHandle:
        options = WorkflowOptions(pass_output=pass_output)
        with _value_errors():
            self.client.check_workflow(workflow_name, task, options=options)
            self._require_workers()
            return self.client.start_workflow(workflow_name, task, options=options)

    def _close(self) -> None:
        if "_workforce" in self.__dict__:
            self._workforce.close()
        if "client" in self.__dict__:
            self.client.close()


class AgentOrchestrator(_Orchestrator):
    """Runs agents and workflows, and waits for them."""

    def run_agent(self, agent_name: str, task: str, **options: Any) -> AgentResult:
        """Execute one agent; a failed execution is a result with `success` false.

        Args:
            options: `model`, `max_tokens`; `temperature` and others of old are accepted.

        Raises:
            InputError: the input cannot work; nothing was enqueued.
            UnreachableError: no server or no worker can be reached.
        """
        handle = self._submit(agent_name, task, options)
        try:
            return _succeeded(handle.result().document)
        except CfWorkersError as error:
            return _failed(agent_name, error)

    execute_agent = run_agent

    def execute_multiple(self, tasks: Sequence[tuple[str, str]], **options: Any) -> list[AgentResult]:
        """Execute pairs of agent and task, `max_concurrent` at a time; one result each, in order."""
        with ThreadPoolExecutor(min(self.max_concurrent, max(len(tasks), 1))) as pool:
            return list(pool.map(lambda pair: self._one_of_many(*pair, **options), tasks))

    def run_workflow(
        self, workflow_name: str, task: str | None = None, pass_output_to_next: bool = True, **options: Any
    ) -> list[AgentResult]:
        """Run a workflow; the results of its steps that ran, in the order in which they ended.

        Args:
            options: those of old are accepted; what becomes of them is said.

        Raises:
            InputError: the input cannot work; nothing was enqueued.
            UnreachableError: no server or no worker can be reached.
        """
        _say_what_becomes_of(options)
        return _steps(self._start(workflow_name, task, pass_output_to_next).result())

    execute_workflow = run_workflow

    async def execute_agent_async(self, agent_name: str, task: str, **options: Any) -> AgentResult:
        """`run_agent`, awaited."""
        return await asyncio.to_thread(self.run_agent, agent_name, task, **options)

    async def execute_multiple_async(
        self, tasks: Sequence[tuple[str, str]], **options: Any
    ) -> list[AgentResult]:
        """`execute_multiple`, awaited."""
        return await asyncio.to_thread(self.execute_multiple, tasks, **options)

    async def execute_workflow_async(
        self, workflow_name: str, task: str | None = None, pass_output_to_next: bool = True, **options: Any
    ) -> list[AgentResult]:
        """`run_workflow`, awaited."""
        return await asyncio.to_thread(self.run_workflow, workflow_name, task, pass_output_to_next, **options)

    def _one_of_many(self, agent_name: str, task: str, **options: Any) -> AgentResult:
        """An invalid one does not disturb the others; a server or worker that is missing concerns all."""
        try:
            return self.run_agent(agent_name, task, **options)
        except UnreachableError:
            raise
        except CfWorkersError as error:
            return _failed(agent_name, error)

    def close(self) -> None:
        """Let go of connections, and of a worker that was started for this program."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncAgentOrchestrator(_Orchestrator):
    """Runs agents and workflows for programs that `await`."""

    @cached_property
    def _sync(self) -> AgentOrchestrator:
        """The same over the same client and workforce."""
        other = AgentOrchestrator(self._config, max_concurrent=self.max_concurrent)
        other.__dict__.update(client=self.client, _workforce=self._workforce)
        other._defaults, other._hiring = self._defaults, self._hiring
        return other

    async def execute_agent(self, agent_name: str, task: str, **options: Any) -> AgentResult:
        """See `AgentOrchestrator.run_agent`."""
        return await self._sync.execute_agent_async(agent_name, task, **options)

    run_agent = execute_agent_async = execute_with_semaphore = execute_agent

    async def execute_multiple(self, tasks: Sequence[tuple[str, str]], **options: Any) -> list[AgentResult]:
        """See `AgentOrchestrator.execute_multiple`."""
        return await self._sync.execute_multiple_async(tasks, **options)

    execute_multiple_async = execute_multiple

    async def run_workflow(
        self, workflow_name: str, task: str | None = None, pass_output_to_next: bool = True, **options: Any
    ) -> list[AgentResult]:
        """See `AgentOrchestrator.run_workflow`."""
        return await self._sync.execute_workflow_async(workflow_name, task, pass_output_to_next, **options)

    execute_workflow = execute_workflow_async = run_workflow

    async def close(self) -> None:
        """Let go of connections, and of a worker that was started for this program."""
        await asyncio.to_thread(self._close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@contextmanager
def _value_errors() -> Iterator[None]:
    """Input that cannot work is a `ValueError` as well, which is what old programs catch."""
    try:
        yield
    except InputError as error:
        kind = type(error)
        raise type(kind.__name__, (kind, ValueError), {})(error.message, error.details) from None


def _current(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that still mean something; what has become of others is said."""
    _say_where(name for name in options if name in _ELSEWHERE and options[name] is not None)
    return {
        name: value for name, value in options.items() if name not in _ELSEWHERE and name not in _NOT_USED
    }


def _say_what_becomes_of(options: Mapping[str, Any]) -> None:
    """What old programs hand to a workflow is accepted; a name that was never one is not."""
    for name in options:
        if name not in _OF_STEPS and name not in _ELSEWHERE and name not in _NOT_USED:
            raise TypeError(f"run_workflow() got an unexpected keyword argument {name!r}")
    _say_where(name for name in options if name not in _NOT_USED and options[name] is not None)


def _say_where(names: Iterable[str]) -> None:
    where = _ELSEWHERE | _OF_STEPS
    for name in names:
        warnings.warn(f"{name} is accepted and not used: {where[name]}", stacklevel=4)


def _succeeded(document: Mapping[str, Any]) -> AgentResult:
    metadata = dict(document["metadata"])
    return AgentResult(document["agent_name"], True, document["output"] or "", metadata, [])


def _failed(agent_name: str, error: CfWorkersError) -> AgentResult:
    metadata = {"error_type": type(error).__name__, **({"hint": error.hint} if error.hint else {})}
    return AgentResult(agent_name, False, "", metadata, [error.message])


def _steps(result: RunResult) -> list[AgentResult]:
    told: list[AgentResult] = []
    for name in result.execution_order:
        step = result.results[name]
        if step.status not in {"succeeded", "failed"}:
            continue
        metadata = {
            "workflow_name": result.workflow_name,
            "workflow_position": len(told) + 1,
            "step": name,
            **{key: value for key, value in result.document["results"][name].items() if key != "output"},
        }
        errors = [str(step.error["message"])] if step.error else []
        told.append(AgentResult(step.agent, step.status == "succeeded", step.output or "", metadata, errors))
    return told
