"""How is a call answered that is made at once? Through layers, of which each adds one thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cf_workers.celery.measuring import measured
from cf_workers.celery.shared import Shared
from cf_workers.prefixes import Prefixes
from cf_workers.reliability import spare_slots
from cf_workers.tasks.answering import Answering, Direct, Wake
from cf_workers.tasks.budgeted import Budgeted
from cf_workers.tasks.cached import Cached
from cf_workers.tasks.guarded import Guarded
from cf_workers.tasks.known_prompts import KnownPrompts
from cf_workers.tasks.lobby import Lobby
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
    prompts = KnownPrompts()
    guarded = Guarded(direct, shared.guard, prompts, credential=shared.credential)
    budgeted = Budgeted(guarded, shared.ledger, wake=wake, cache_ttl=shared.provider.policy.cache_ttl)
    prefixes = Prefixes(shared.client, shared.keys, settings.warming_policy)
    lobby = Lobby(prefixes, spare_slots)
    warmed = Warmed(budgeted, prefixes, lobby, prompts, credential=shared.credential, wake=_at_once(shared))
    cached = Cached(warmed, shared.cache, namespace=settings.answers_namespace, wake=wake)
    return InteractiveLane(cached, (guarded.renew, budgeted.renew))


def _at_once(shared: Shared) -> Wake:
    """Lets parked steps go on without the reconciler's pause, where that is this process's."""

    def wake(waiters: Sequence[str]) -> None:
        shared.store.unpark(waiters)
        shared.woken.set()

    return wake
