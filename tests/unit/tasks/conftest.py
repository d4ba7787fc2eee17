"""The tasks with a scripted model, on the engine without a server."""

from contextlib import contextmanager

import fakeredis
import pytest

from cf_workers.agents.definition import AgentDefinition, AgentReply, Usage
from cf_workers.application import Context
from cf_workers.cache import Cache, GivenSecret
from cf_workers.planning import Planned, plan_execution
from cf_workers.resilience import Guard
from cf_workers.settings import load_settings
from cf_workers.tasks import app, runtime
from cf_workers.tasks.answering import Direct
from cf_workers.warming import Warmer
from cf_workers.workflows.dead_letters import DeadLetters
from cf_workers.workflows.keyed_cache import KeyedCache
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.liveness import Heartbeat
from cf_workers.workflows.plan import Plan
from cf_workers.workflows.record import NewRun
from tests.support.engine import Engine, FakeServer, fake_client, memory_app
from tests.support.keys import assert_nothing_leaked
from tests.support.projects import make_project

MODEL = "claude-haiku-4-5"
USAGE = Usage(input_tokens=10, output_tokens=5, cache_read_input_tokens=100)


class ScriptedModel:
    """Answers what a test told it to: a text, an error, or what a function of the call gives."""

    def __init__(self):
        self.asked = []
        self._script = []

    def will(self, *answers):
        self._script += answers

    def warm(self):
        pass

    def close(self):
        pass

    def ask(self, call, token=None):
        self.asked.append(call)
        answer = self._script.pop(0) if self._script else f"{call.agent.name} says hello"
        if callable(answer):
            answer = answer(call, token)
        if isinstance(answer, Exception):
            raise answer
        return AgentReply(answer, call.model, USAGE, "end_turn", request_id="req_1")


class Worker:
    """One worker process: the runtime of its tasks, and ways to deliver messages to it."""

    def __init__(self, engine, project):
        self.engine = engine
        self.model = ScriptedModel()
        self.settings = settings = load_settings(environ={})
        context = Context(settings, project.path, "")
        self.cache = Cache(fakeredis.FakeRedis(server=FakeServer()), engine.keys, GivenSecret(b"a secret"))
        self.heartbeat = Heartbeat(engine.client, engine.keys, worker="w1", about=dict)
        self.heartbeat.beat()
        self.runtime = runtime.Runtime(
            client=engine.client,
            keys=engine.keys,
            store=engine.store,
            history=engine.history,
            definitions=engine.definitions,
            agents=KeyedCache(
                lambda digest: AgentDefinition.model_validate_json(engine.definitions.get(digest)), size=8
            ),
            launcher=Launcher(app, engine.store, engine.definitions, engine.joins),
            heartbeat=self.heartbeat,
            dead_letters=DeadLetters(engine.client, engine.keys),
            provider=self.model,
            answering=Direct(self.model),
            guard=Guard(engine.client, engine.keys),
            is_cacheable=lambda step: False,
            plan_execution=lambda agent, options, task: plan_execution(
                agent, project, settings, options, task=task
            ),
            max_task_chars=1000,
            warmer=Warmer(context, lambda: self.cache),
        )

    def record(self, plan, run="r1", **rest):
        """The record of a run of agents that each have the name of their step; no message."""
        planned = self._pinned(plan)
        self.engine.definitions.pin(run, planned.definitions, 1000)
        return self.engine.record(planned.plan, run=run, **rest)

    def start(self, plan, run="r1"):
        """The same, with its first messages."""
        planned = self._pinned(plan)
        new = NewRun(run=run, kind="workflow", plan=planned.plan)
        return self.engine.store.header(self.runtime.launcher.start(new, planned.definitions), 1)

    def _pinned(self, plan):
        definitions = [AgentDefinition(name=step.agent, text=f"# {step.agent}") for step in plan.steps]
        steps = [
            step.model_copy(update={"definition": definition.digest})
            for step, definition in zip(plan.steps, definitions, strict=True)
        ]
        texts = {definition.digest: definition.model_dump_json() for definition in definitions}
        return Planned(Plan(workflow=plan.workflow, steps=tuple(steps)), texts)

    @contextmanager
    def delivery(self, task, *args, id, **more):
        """What a task sees while it runs for a message."""
        task.push_request(
            id=id,
            args=list(args),
            kwargs=more.pop("kwargs", {}),
            called_directly=False,
            root_id=id,
            delivery_info={"exchange": "interactive", "routing_key": "interactive"},
            **{"retries": 0, **more},
        )
        try:
            yield
        finally:
            task.pop_request()

    def published(self):
        return self.engine.published()


@pytest.fixture
def engine(request):
    """An engine whose application is that of the tasks, on a fake server that has been up for long."""
    server = FakeServer()
    server.started_at -= 10_000
    made = Engine(client=fake_client(server))
    plain = memory_app(made.client)
    app.config_from_object({name: plain.conf[name] for name in CONFIGURED})
    app._backend_cache = plain.backend
    made.joins._app = app
    yield made
    app._backend_cache = None
    app.config_from_object("cf_workers.application:configuration")
    plain.close()
    assert_nothing_leaked(made.client, request.module)
    made.close()


CONFIGURED = (
    "broker_url",
    "task_queues",
    "task_default_queue",
    "task_default_exchange",
    "task_default_routing_key",
    "task_create_missing_queues",
    "result_backend_thread_safe",
    "result_backend",
)


@pytest.fixture
def worker(engine, tmp_path):
    made = Worker(engine, make_project(tmp_path, "greeter", "writer"))
    runtime.install(lambda: made.runtime)
    yield made
    runtime._factory = runtime._current = None
