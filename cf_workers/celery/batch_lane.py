"""How is a call answered that may wait for a message batch?"""

from __future__ import annotations

from cf_workers._redis import server_time
from cf_workers.agents.batch_api import AnthropicBatches
from cf_workers.batches import Courier, PackTable, RowTable
from cf_workers.celery.shared import Shared
from cf_workers.tasks.answering import Answering
from cf_workers.tasks.batch_desk import BatchDesk
from cf_workers.tasks.batch_lane import BatchLane
from cf_workers.tasks.batch_money import BatchMoney
from cf_workers.tasks.batched import Batched
from cf_workers.tasks.guarded_batches import GuardedBatches
from cf_workers.tasks.poll import poll_batches

_POLL_EXPIRES = 30.0


def open_batch_lane(shared: Shared, interactive: Answering) -> tuple[Answering, BatchLane]:
    """The layer that lets calls wait, before all others, and what sees to their batches.

    Args:
        interactive: answers what does not wait, or has waited for nothing.
    """
    settings = shared.context.settings
    policy = settings.batch_policy
    client, keys = shared.client, shared.keys
    rows, packs = RowTable(client, keys, results_seconds=policy.results_seconds), PackTable(client, keys)
    money = BatchMoney(shared.ledger, wake=shared.store.unpark)
    api = GuardedBatches(
        AnthropicBatches(shared.provider, submit_timeout_seconds=policy.submit_timeout_seconds),
        shared.guard,
        credential=shared.credential,
    )
    desk = BatchDesk(shared.store, shared.agents.get, shared.cache, money, policy=policy)
    lane = BatchLane(
        client,
        keys,
        packs,
        Courier(rows, packs, api, desk, clock=lambda: server_time(client), policy=policy),
        publish=lambda: poll_batches.apply_async(expires=_POLL_EXPIRES),
        worker=shared.worker,
        also=api.renew,
        policy=policy,
    )
    batched = Batched(
        interactive, rows, packs, shared.cache, money, namespace=settings.answers_namespace, policy=policy
    )
    return batched, lane
