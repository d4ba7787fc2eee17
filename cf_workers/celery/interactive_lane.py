"""How is a call answered that is made at once? Through layers, of which each adds one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cf_workers.celery.measuring import measured
from cf_workers.celery.shared import Shared
from cf_workers.prefixes import Prefixes
from cf_workers.tasks.answering import Answering, Direct
from cf_workers.tasks.budgeted import Budgeted
from cf_workers.tasks.cached import Cached
from cf_workers.tasks.guarded import Guarded
from cf_workers.tasks.warmed import Warmed


@dataclass(frozen=True)
class InteractiveLane:
    """The layers from the outermost on.

    Args:
        renewals: what keeps permits and reservations of calls under way alive; done with each heartbeat.
    """

    answering: Answering
    renewals: tuple[Callable[[], None], ...]


def open_interactive_lane(shared: Shared) -> InteractiveLane:
    """Put the layers around the provider, innermost first; `tasks.answering` says why in this order."""
    settings, wake = shared.context.settings, shared.store.unpark
    direct = measured(Direct(shared.provider), settings)
    guarded = Guarded(direct, shared.guard, credential=shared.credential)
    budgeted = Budgeted(guarded, shared.ledger, wake=wake, cache_ttl=shared.provider.policy.cache_ttl)
    prefixes = Prefixes(shared.client, shared.keys, settings.warming_policy)
    warmed = Warmed(budgeted, prefixes, credential=shared.credential, wake=wake)
    cached = Cached(warmed, shared.cache, namespace=settings.answers_namespace, wake=wake)
    return InteractiveLane(cached, (guarded.renew, budgeted.renew))
