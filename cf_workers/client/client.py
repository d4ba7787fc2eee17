"""How does a program enqueue agents and workflows?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import redis
from celery import Celery, Signature
from kombu.exceptions import OperationalError

from cf_workers._redis import Keys, connect, describe_url
from cf_workers.agents.definition import AgentCall
from cf_workers.answers import is_cacheable, key_of, open_cache
from cf_workers.application import Context, open_context
from cf_workers.budgets import Ledger, Limit
from cf_workers.cache import Cache
from cf_workers.client.budgeting import Budgets
from cf_workers.client.handles import ExecutionHandle, RunHandle
from cf_workers.client.operations import Operations
from cf_workers.client.quote import Quote, Quoter
from cf_workers.client.results import Outcome
from cf_workers.client.schedules import Schedules
from cf_workers.client.short_cut import ShortCut
from cf_workers.errors import CfWorkersError, InputError, NoWorkerError, ServerUnreachableError
from cf_workers.planning import (
    ExecutionOptions,
    Planned,
    WorkflowOptions,
    check_execution,
    check_list_task,
    check_task,
    check_timeout,
    plan_workflow,
    read_options,
    record_options,
    resolve_inputs,
)
from cf_workers.project import BudgetsSection, Project, parse_workflow, read_workflow_file
from cf_workers.project.budgets import RUN
from cf_workers.project.problems import project_error
from cf_workers.reliability import install
from cf_workers.reliability.connection import BrokerRefusedError
from cf_workers.schedules import Ledger as ScheduleLedger
from cf_workers.settings import Settings
from cf_workers.warming import Warmer
from cf_workers.wire import INTERACTIVE, RUN_AGENT
from cf_workers.workflows.accounts import Accounts
from cf_workers.workflows.dead_letters import DeadLetters
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.history import FINAL, History
from cf_workers.workflows.joins import Joins
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.liveness import live_workers
from cf_workers.workflows.plan import PlannedStep
from cf_workers.workflows.record import NewRun, RunStore
from cf_workers.workflows.spec import Lane, WorkflowSpec

Workflow = str | Path | Mapping[str, Any]
"""A workflow of the project by its name, a file that holds one, or one as a mapping."""


class Client:
    """Enqueues work and follows it; safe to use from many threads.

    Everything is validated before anything is enqueued: input that cannot work costs nothing.

    Args:
        config: the project's `claude.json`; found as the command line finds it if not given.
        redis_url: the server; that of the settings if not given, the project's embedded one if none is set.
        announce: told, in a sentence for a person, when an embedded server was started.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        redis_url: str | None = None,
        *,
        announce: Callable[[str], object] | None = None,
    ) -> None:
        self._open = partial(open_context, config=config, redis_url=redis_url, announce=announce)

    @cached_property
    def context(self) -> Context:
        """Project, settings and server of this client, opened when first needed.

        Raises:
            ConfigError: a setting cannot be used, or the named project is not there.
            ServerUnreachableError: the embedded server does not start.
        """
        return self._open()

    @cached_property
    def warmer(self) -> Warmer:
        """What is to be in the cache before anybody asks, and what is."""
        return Warmer(self.context, lambda: self.cache)

    @cached_property
    def local(self) -> Context:
        """Project and settings, which need no server; without a configured one it names none.

        Raises:
            ConfigError: a setting cannot be used, or the named project is not there.
        """
        return self.__dict__.get("context") or self._open(need_server=False)

    @property
    def project(self) -> Project:
        """The project as it is now; needs no server.

        Raises:
            ConfigError: there is none, or its file cannot be read.
        """
        return self.local.project

    @property
    def project_path(self) -> Path | None:
        """The project file; `None` where there is none. Needs no server."""
        return self.local.project_path

    @property
    def settings(self) -> Settings:
        """The settings in force; needs no server."""
        return self.local.settings

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
        message, new = self._prepared(agent, task, planned, options, idempotency_key)
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
        _, new = self._prepared(agent, task, planned, chosen, None)
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
        submitted = [_outcome_of(lambda c=call: self.submit(*c, **options)) for call in calls]  # type: ignore[misc]
        outcomes = []
        for handle in submitted:
            if isinstance(handle, CfWorkersError):
                outcomes.append(Outcome(error=handle))
                continue
            result = _outcome_of(lambda h=handle: h.result(timeout))  # type: ignore[misc]
            outcomes.append(
                Outcome(error=result) if isinstance(result, CfWorkersError) else Outcome(result=result)
            )
        return outcomes

    def start_workflow(
        self,
        workflow: Workflow | WorkflowSpec,
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
            workflow: its name in the project, a file that holds one, or one as a mapping.
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
        spec = workflow if isinstance(workflow, WorkflowSpec) else self.workflow(workflow)
        values = resolve_inputs(spec, inputs or {})
        planned = self.check_workflow(spec, task, inputs=values, options=options)
        name = uuid4().hex
        new = NewRun(
            run=name,
            kind="workflow",
            plan=planned.plan,
            task=task,
            inputs=values,
            options=record_options(name, planned, options),
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
        workflow: Workflow | WorkflowSpec,
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
        spec = workflow if isinstance(workflow, WorkflowSpec) else self.workflow(workflow)
        check_task(task, settings.max_task_chars)
        check_list_task(spec, task)
        values = resolve_inputs(spec, inputs or {})
        return plan_workflow(spec, self.project, settings, self._allowed(options), task=task, inputs=values)

    def quote(
        self,
        workflow: Workflow | WorkflowSpec,
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
        spec = workflow if isinstance(workflow, WorkflowSpec) else self.workflow(workflow)
        values = {**{name: value for name, value in spec.inputs if value is not None}, **(inputs or {})}
        planned = plan_workflow(
            spec, self.project, self.settings, self._allowed(options), task=task, inputs=values
        )
        return self._quote(planned, task, values, task_needed=spec.is_list and task is None)

    def quote_execution(self, agent: str, task: str, options: ExecutionOptions | None = None) -> Quote:
        """The same for one execution of an agent; raises as `quote` does."""
        return self._quote(self.check_execution(agent, task, options), task, {})

    def workflow(self, workflow: Workflow) -> WorkflowSpec:
        """Read a workflow by name, from a file or from a mapping.

        Raises:
            InputError: there is none of that name, or it cannot be used; every problem is listed.
        """
        if isinstance(workflow, str) and not _is_path(workflow):
            return self.project.workflow(workflow)
        if isinstance(workflow, Mapping):
            return _parsed(str(workflow.get("name") or "workflow"), workflow)
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
            verdict, running, attempt = self._store.stop(run, "cancelled")
            if verdict == "stopping" and running == 0:
                ended, _ = self._store.finish(run, attempt)
                header = self._store.header(run, attempt)
                if ended == "ended":
                    self._launcher.forget(header)
                self._launcher.finish(header)
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

    def workers(self, queue: str | None = None) -> list[dict[str, Any]]:
        """What each living worker says of itself; only those that listen on `queue`, if given."""
        with self.reaching():
            found = live_workers(self._redis, self._keys, self.context.settings.liveness_policy)
        return [worker for worker in found if queue is None or queue in worker["queues"]]

    def require_worker(self, queue: str = INTERACTIVE) -> None:
        """Make sure that somebody will do the work.

        Raises:
            NoWorkerError: nobody listens on the queue.
        """
        if not self.workers(queue):
            raise NoWorkerError(
                f"no worker listens on queue {queue!r} at {describe_url(self.context.redis_url)}",
                {"hint": "start one with `celery -A cf_workers worker`", "queue": queue},
            )

    def ping(self) -> None:
        """Make sure that the server answers.

        Raises:
            ServerUnreachableError: it does not.
        """
        with self.reaching():
            self._redis.ping()

    @cached_property
    def operations(self) -> Operations:
        """The operator's side: guards and readiness."""
        return Operations(self.context, app=lambda: self._app, reaching=self.reaching)

    @cached_property
    def schedules(self) -> Schedules:
        """What runs by itself, and when."""
        return Schedules(self, ScheduleLedger(self._redis, self._keys))

    @cached_property
    def budgets(self) -> Budgets:
        """How much may still be spent, and ways to change that."""
        return Budgets(
            Ledger(self._redis, self._keys, self.context.settings.budget_policy),
            self._store,
            self.history,
            declared=self._declared_budgets,
            reaching=self.reaching,
        )

    @cached_property
    def accounts(self) -> Accounts:
        """What was executed and spent, day by day, and what executions took."""
        return Accounts(self._redis, self._keys)

    @cached_property
    def history(self) -> History:
        """The reading side: documents, listings, events."""
        return History(self._redis, self._keys, self._definitions)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Steps that were given up because every worker that took them on died."""
        return DeadLetters(self._redis, self._keys, self.context.settings.dead_letter_policy)

    def close(self) -> None:
        """Let go of connections and of the embedded server."""
        if "operations" in self.__dict__:
            self.operations.close()
        if "_app" in self.__dict__:
            self._app.close()
        if "_redis" in self.__dict__:
            self._redis.close()
        if "context" in self.__dict__:
            self.context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def cache(self) -> Cache:
        """The response cache of the fleet.

        Raises:
            ConfigError: in production no secret is set.
        """
        return open_cache(self.context)

    @cached_property
    def _redis(self) -> Any:
        return connect(self.context.redis_url)

    @cached_property
    def _keys(self) -> Keys:
        return Keys(self.context.settings.namespace)

    @cached_property
    def _definitions(self) -> Definitions:
        return Definitions(self._redis, self._keys)

    @cached_property
    def _store(self) -> RunStore:
        return RunStore(self._redis, self._keys, self._definitions, self.context.settings.record_policy)

    @cached_property
    def _app(self) -> Celery:
        app = Celery("cf_workers", set_as_current=False)
        app.conf.update(self.context.celery)
        install(app)
        return app

    @cached_property
    def _launcher(self) -> Launcher:
        return Launcher(self._app, self._store, self._definitions, Joins(self._app))

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

    def _prepared(
        self,
        agent: str,
        task: str,
        planned: Planned,
        options: ExecutionOptions,
        idempotency_key: str | None,
    ) -> tuple[Signature, NewRun]:
        """The message of an execution, and the record to be made before it is sent."""
        execution = uuid4().hex
        message = self._app.signature(
            RUN_AGENT,
            args=(agent,),
            options={
                "task_id": execution,
                "queue": planned.plan.steps[0].queue,
                "argsrepr": f"agent={agent}",
                "kwargsrepr": "{}",
            },
        )
        new = NewRun(
            run=execution,
            kind="agent",
            plan=planned.plan,
            task=task,
            options=record_options(execution, planned, options),
            idempotency_key=idempotency_key,
            message=dict(message),
        )
        return message, new

    def _quote(
        self, planned: Planned, task: str | None, inputs: Mapping[str, str], *, task_needed: bool = False
    ) -> Quote:
        quoter = Quoter(samples=self.accounts.samples, day=self.accounts.day, known=self._is_known)
        with self.reaching():
            return quoter.quote(planned, task=task, inputs=inputs, task_needed=task_needed)

    def _is_known(self, step: PlannedStep, call: AgentCall) -> bool | None:
        """Whether the cache would answer a call; `None` if its answer is not kept."""
        if not self.cache.policy.enabled or not is_cacheable(self.context, step):
            return None
        found = self.cache.inspect(key_of(call, self.settings.answers_namespace))
        return found is not None and not found.stale

    def _declared_budgets(self) -> list[Limit]:
        """Those of the project, if there is one, with the environment's amounts."""
        given = self.settings.budgets
        amounts = {"namespace": given.namespace_usd, "day": given.day_usd}
        section = self.project.budgets if self.context.project_path is not None else BudgetsSection()
        named = {*section.applying((), None, amounts)}
        return [
            *(one for one in named if one.scope != RUN),
            *section.agents.values(),
            *section.workflows.values(),
        ]

    def _allowed(self, options: WorkflowOptions | None) -> WorkflowOptions:
        """The options with the project's features applied."""
        chosen = options or WorkflowOptions()
        if self.project.features.parallel_workflows_enabled:
            return chosen
        return replace(chosen, sequential=True)

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn what Redis and the broker raise into an error that names the server, without its password.

        Raises:
            ServerUnreachableError: the server does not answer.
        """
        try:
            yield
        except redis.AuthenticationError:
            raise ServerUnreachableError(
                f"{describe_url(self.context.redis_url)} does not accept the user or password",
                {"hint": "correct the ones in CF_WORKERS_REDIS_URL: redis://USER:PASSWORD@HOST:PORT/0"},
            ) from None
        except BrokerRefusedError:
            raise ServerUnreachableError(
                f"{describe_url(self.context.broker_url)} does not accept the user, password or virtual host",
                {"hint": "correct the ones in CF_WORKERS_BROKER_URL: amqp://USER:PASSWORD@HOST:PORT/VHOST"},
            ) from None
        except (redis.ConnectionError, redis.TimeoutError, OperationalError) as error:
            broker = isinstance(error, OperationalError) and self.context.broker_url != self.context.redis_url
            url = self.context.broker_url if broker else self.context.redis_url
            name = "CF_WORKERS_BROKER_URL" if broker else "CF_WORKERS_REDIS_URL"
            raise ServerUnreachableError(
                f"no answer from {describe_url(url)}",
                {
                    "hint": f"is it running? its address is {name}",
                    "cause": type(error).__name__,
                },
            ) from None


def _outcome_of(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except CfWorkersError as error:
        return error


def _is_path(text: str) -> bool:
    return text.endswith(".json") or "/" in text


def _parsed(name: str, raw: Any) -> WorkflowSpec:
    spec, problems = parse_workflow(name, raw, place="")
    if spec is None:
        raise project_error(f"workflow {name!r} cannot be used", problems)
    return spec
