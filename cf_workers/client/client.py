"""How does a program enqueue agents and workflows?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from cf_workers.answers import is_known
from cf_workers.budgets import Ledger, Limit
from cf_workers.client.budgeting import Budgets
from cf_workers.client.connection import Connection
from cf_workers.client.handles import ExecutionHandle, RunHandle
from cf_workers.client.operations import Operations
from cf_workers.client.quote import Quote, Quoter
from cf_workers.client.records import new_execution, new_run
from cf_workers.client.results import Outcome
from cf_workers.client.schedules import Schedules
from cf_workers.client.short_cut import ShortCut
from cf_workers.errors import CfWorkersError, InputError
from cf_workers.planning import (
    ExecutionOptions,
    Planned,
    WorkflowOptions,
    check_execution,
    check_list_task,
    check_task,
    check_timeout,
    declared_limits,
    plan_workflow,
    read_options,
    resolve_inputs,
)
from cf_workers.project import read_workflow_file, read_workflow_mapping
from cf_workers.schedules import Ledger as ScheduleLedger
from cf_workers.warming import Warmer
from cf_workers.workflows.outcome import FINAL
from cf_workers.workflows.spec import Lane, WorkflowSpec

Workflow = str | Path | Mapping[str, Any] | WorkflowSpec
"""A workflow of the project by its name, a file that holds one, one as a mapping, or one that was read."""


class Client(Connection):
    """Enqueues work and follows it; safe to use from many threads.

    Everything is validated before anything is enqueued: input that cannot work costs nothing.

    Args:
        config: the project's `claude.json`; found as the command line finds it if not given.
        redis_url: the server; that of the settings if not given, the project's embedded one if none is set.
        announce: told, in a sentence for a person, when an embedded server was started.
    """

    def submit(
        self,
        agent: str,
        task: str,
        *,
        model: str | None = None,
        complexity: str | None = None,
        max_tokens: int | None = None,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        cacheable: bool | None = None,
        lane: Lane | None = None,
        fail_fast: bool = False,
        max_cost_usd: float | None = None,
        idempotency_key: str | None = None,
    ) -> ExecutionHandle:
        """Enqueue one execution of an agent; one whose answer is in the cache has ended when this returns.

        Args:
            model: its id, or `auto` for the one that the project's rules choose.
            complexity: the tier from which it is chosen, whatever the rules say.
            timeout_seconds: bound on one attempt.
            max_retries: further requests after the first.
            lane: `batch` waits for a message batch, at half the price; `interactive` if not given.
            fail_fast: rather an error than to wait while the breaker, a limit or a budget allows no call.
            max_cost_usd: its own budget.
            idempotency_key: a second submission with the same key is the first one.

        Raises:
            InputError: the input cannot work; nothing was enqueued.
            ServerUnreachableError: the server does not answer.
        """
        options = read_options(
            {
                "model": model,
                "complexity": complexity,
                "max_tokens": max_tokens,
                "timeout_seconds": timeout_seconds,
                "max_retries": max_retries,
                "cacheable": cacheable,
                "lane": lane,
                "fail_fast": fail_fast,
                "max_cost_usd": max_cost_usd,
            }
        )
        planned = self.check_execution(agent, task, options)
        message, new = new_execution(self._app, task, planned, options, idempotency_key)
        with self.reaching():
            self.budgets.refuse_unpriced(planned)
            found = self._launcher.record(new, planned.definitions)
            if found == new.run:
                answer = self._short_cut.answer(planned, task)
                if answer is None or not self._short_cut.conclude(new, answer):
                    message.apply_async()
        return ExecutionHandle(self, self.history, found)

    def recall(self, agent: str, task: str, **options: Any) -> ExecutionHandle | None:
        """Execute an agent whose answer is in the cache, which takes no worker; `None` if it is not there.

        Args:
            options: as for `submit`.

        Raises:
            InputError: the input cannot work.
            ServerUnreachableError: the server does not answer.
        """
        chosen = read_options(options)
        planned = self.check_execution(agent, task, chosen)
        answer = self._short_cut.answer(planned, task)
        if answer is None:
            return None
        _, new = new_execution(self._app, task, planned, chosen, None)
        with self.reaching():
            self._launcher.record(new, planned.definitions)
            self._short_cut.conclude(new, answer)
        return ExecutionHandle(self, self.history, new.run)

    def execute_many(
        self, calls: Iterable[tuple[str, str]], *, timeout: float | None = None, **options: Any
    ) -> list[Outcome]:
        """Run many executions at once and wait for all of them.

        Args:
            calls: pairs of agent and task.
            timeout: seconds to wait for each, counted from when its turn to be waited for comes.
            options: as for `submit`.

        Returns:
            One outcome each, in order; an invalid one does not disturb the others.
        """

        def submitted(agent: str, task: str) -> ExecutionHandle | Outcome:
            try:
                return self.submit(agent, task, **options)
            except CfWorkersError as error:
                return Outcome(error=error)

        under_way = [submitted(*call) for call in calls]
        return [
            one if isinstance(one, Outcome) else Outcome.of(partial(one.result, timeout)) for one in under_way
        ]

    def start_workflow(
        self,
        workflow: Workflow,
        task: str | None = None,
        *,
        inputs: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        timeout_seconds: float | None = None,
        max_cost_usd: float | None = None,
        options: WorkflowOptions | None = None,
    ) -> RunHandle:
        """Enqueue a run of a workflow.

        Args:
            workflow: its name in the project, a file that holds one, one as a mapping, or one that was read.
            task: shown to every step; needed by workflows that are plain lists.
            idempotency_key: a second start with the same key is the first one.
            timeout_seconds: bound on the whole run; the workflow's own if not given.
            max_cost_usd: the run's own budget; that of `options`, then the project's for runs if not given.

        Raises:
            InputError: the input cannot work; nothing was enqueued.
            ServerUnreachableError: the server does not answer.
        """
        check_timeout(timeout_seconds)
        if max_cost_usd is not None:
            options = replace(options or WorkflowOptions(), max_cost_usd=max_cost_usd)
        spec = self.workflow(workflow)
        values = resolve_inputs(spec, inputs or {})
        planned = self.check_workflow(spec, task, inputs=values, options=options)
        new = new_run(
            planned,
            task,
            values,
            options,
            timeout_seconds=timeout_seconds or spec.timeout_seconds,
            idempotency_key=idempotency_key,
        )
        with self.reaching():
            self.budgets.refuse_unpriced(planned)
            run = self._launcher.start(new, planned.definitions)
        return RunHandle(self, self.history, run)

    def check_execution(self, agent: str, task: str, options: ExecutionOptions | None = None) -> Planned:
        """What `submit` would enqueue; needs no server.

        Raises:
            InputError: the input cannot work.
        """
        return check_execution(agent, task, self.project, self.settings, options)

    def check_workflow(
        self,
        workflow: Workflow,
        task: str | None = None,
        *,
        inputs: Mapping[str, str] | None = None,
        options: WorkflowOptions | None = None,
    ) -> Planned:
        """What `start_workflow` would enqueue; needs no server.

        Raises:
            InputError: the input cannot work.
        """
        settings = self.settings
        spec = self.workflow(workflow)
        check_task(task, settings.max_task_chars)
        check_list_task(spec, task)
        values = resolve_inputs(spec, inputs or {})
        return plan_workflow(spec, self.project, settings, self._allowed(options), task=task, inputs=values)

    def quote(
        self,
        workflow: Workflow,
        task: str | None = None,
        *,
        inputs: Mapping[str, str] | None = None,
        options: WorkflowOptions | None = None,
    ) -> Quote:
        """What a run would likely cost and take, from executions on record and from sizes.

        Args:
            task: without it the steps are quoted as if it were empty, and no hit is foreseen for certain.
            inputs: those that are missing count as empty.

        Raises:
            InputError: the workflow cannot work.
            ServerUnreachableError: the server does not answer.
        """
        spec = self.workflow(workflow)
        values = {**{name: value for name, value in spec.inputs if value is not None}, **(inputs or {})}
        planned = plan_workflow(
            spec, self.project, self.settings, self._allowed(options), task=task, inputs=values
        )
        quoter = Quoter(
            samples=self.accounts.samples,
            day=self.accounts.day,
            known=lambda step, call: is_known(self.context, self.cache, step, call),
        )
        with self.reaching():
            return quoter.quote(planned, task=task, inputs=values, task_needed=spec.is_list and task is None)

    def workflow(self, workflow: Workflow) -> WorkflowSpec:
        """Read a workflow by name, from a file or from a mapping; one that was read is returned as it is.

        Raises:
            InputError: there is none of that name, or it cannot be used; every problem is listed.
        """
        if isinstance(workflow, WorkflowSpec):
            return workflow
        if isinstance(workflow, Mapping):
            return read_workflow_mapping(workflow)
        if isinstance(workflow, str) and not (workflow.endswith(".json") or "/" in workflow):
            return self.project.workflow(workflow)
        return read_workflow_file(Path(workflow), self.project)

    def run(self, run: str) -> RunHandle:
        """The handle of a run by its id."""
        return RunHandle(self, self.history, run)

    def execution(self, execution: str) -> ExecutionHandle:
        """The handle of a single execution by its id."""
        return ExecutionHandle(self, self.history, execution)

    def cancel(self, run: str) -> str:
        """Stop a run or an execution; returns the status it has then.

        Raises:
            UnknownRunError: there is none of that id.
        """
        with self.reaching():
            self._launcher.cancel(run)
            return self.history.status(run)

    def check_retry(self, run: str) -> None:
        """Make sure that there is something to run again.

        Raises:
            UnknownRunError: there is none of that id.
            InputError: it is still active, or it has succeeded.
        """
        with self.reaching():
            status = self.history.status(run)
        if status == "succeeded":
            raise InputError(f"run {run!r} has succeeded: there is nothing to retry", {"run": run})
        if status not in FINAL:
            hint = f"wait for its end, or cancel it with `cf-workers runs cancel {run}`"
            raise InputError(f"run {run!r} is still {status}", {"run": run, "hint": hint})

    def retry(self, run: str) -> int:
        """Run again what did not succeed; returns the number of the new attempt.

        Raises:
            UnknownRunError: there is none of that id.
            InputError: it is still active, or it has succeeded.
        """
        with self.reaching():
            return self._launcher.restart(run)

    @cached_property
    def operations(self) -> Operations:
        """The operator's side: guards and readiness."""
        return Operations(self.context, app=lambda: self._app, reaching=self.reaching)

    @cached_property
    def schedules(self) -> Schedules:
        """What runs by itself, and when."""
        return Schedules(self, ScheduleLedger(self._redis, self._keys))

    @cached_property
    def warmer(self) -> Warmer:
        """What is to be in the cache before anybody asks, and what is."""
        return Warmer(self.context, lambda: self.cache)

    @cached_property
    def budgets(self) -> Budgets:
        """How much may still be spent, and ways to change that."""
        return Budgets(
            Ledger(self._redis, self._keys, self.context.settings.budget_policy),
            self._store,
            self.history,
            declared=self._declared_limits,
            reaching=self.reaching,
        )

    def close(self) -> None:
        """Let go of connections and of the embedded server."""
        if "operations" in self.__dict__:
            self.operations.close()
        super().close()

    @cached_property
    def _short_cut(self) -> ShortCut:
        return ShortCut(
            self.context,
            lambda: self.cache,
            app=self._app,
            store=self._store,
            launcher=self._launcher,
            history=self.history,
        )

    def _declared_limits(self) -> list[Limit]:
        found = self.context
        return declared_limits(found.project if found.project_path is not None else None, found.settings)

    def _allowed(self, options: WorkflowOptions | None) -> WorkflowOptions:
        """The options with the project's features applied."""
        chosen = options or WorkflowOptions()
        if self.project.features.parallel_workflows_enabled:
            return chosen
        return replace(chosen, sequential=True)
