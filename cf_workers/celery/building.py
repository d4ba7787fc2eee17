"""Which collaborators do the tasks of this process work with?"""

from __future__ import annotations

from cf_workers.answers import is_cacheable
from cf_workers.application import default_context
from cf_workers.celery.batch_lane import open_batch_lane
from cf_workers.celery.interactive_lane import open_interactive_lane
from cf_workers.celery.listening import about
from cf_workers.celery.shared import open_shared
from cf_workers.planning import ExecutionOptions, Planned, plan_execution
from cf_workers.tasks import runtime
from cf_workers.tasks.app import app
from cf_workers.tasks.budgeted import renew_all
from cf_workers.warming import Warmer
from cf_workers.workflows.dead_letters import DeadLetters
from cf_workers.workflows.history import History
from cf_workers.workflows.joins import Joins
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.liveness import Heartbeat


def build_runtime() -> runtime.Runtime:
    """Make them; nothing is sent before they are used."""
    context = default_context()
    settings = context.settings
    shared = open_shared(context)
    client, keys, definitions = shared.client, shared.keys, shared.definitions
    interactive = open_interactive_lane(shared)
    answering, batches = open_batch_lane(shared, interactive.answering)

    def plan(agent: str, options: ExecutionOptions, task: str) -> Planned:
        return plan_execution(agent, context.project, settings, options, task=task)

    return runtime.Runtime(
        client=client,
        keys=keys,
        store=shared.store,
        history=History(client, keys, definitions),
        definitions=definitions,
        agents=shared.agents,
        launcher=Launcher(app, shared.store, definitions, Joins(app)),
        heartbeat=Heartbeat(
            client,
            keys,
            worker=shared.worker,
            about=lambda: {**about(shared.worker), "guard_blind": shared.guard.blind},
            also=renew_all(*interactive.renewals, batches.renew),
            policy=settings.liveness_policy,
        ),
        dead_letters=DeadLetters(client, keys, settings.dead_letter_policy),
        provider=shared.provider,
        answering=answering,
        guard=shared.guard,
        is_cacheable=lambda step: is_cacheable(context, step),
        plan_execution=plan,
        max_task_chars=settings.max_task_chars,
        warmer=Warmer(context, lambda: shared.cache),
        batches=batches,
    )
