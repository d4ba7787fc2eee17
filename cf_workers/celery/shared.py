"""What do the lanes of one worker process share?"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from uuid import uuid4

from cf_workers._redis import Keys, RedisClient, connect
from cf_workers.agents.definition import AgentDefinition
from cf_workers.agents.provider import AnthropicProvider, ProviderPolicy
from cf_workers.answers import open_cache
from cf_workers.application import Context
from cf_workers.budgets import Ledger
from cf_workers.cache import Cache
from cf_workers.resilience import Guard, credential_digest
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.keyed_cache import KeyedCache
from cf_workers.workflows.record import RunStore

_AGENTS_CACHED = 512
_GUARD_TIMEOUT_SECONDS = 0.25
_SPARE_CONNECTIONS = 20


@dataclass(frozen=True)
class Shared:
    """Collaborators that more than one lane works with.

    Args:
        worker: names this process.
        credential: a name for the credential that calls are made with.
    """

    context: Context
    worker: str
    client: RedisClient
    keys: Keys
    definitions: Definitions
    store: RunStore
    agents: KeyedCache[str, AgentDefinition]
    provider: AnthropicProvider
    guard: Guard
    credential: str
    ledger: Ledger
    cache: Cache


def open_shared(context: Context) -> Shared:
    """Make them; nothing is sent before they are used."""
    settings = context.settings
    most = settings.worker.concurrency + _SPARE_CONNECTIONS
    client = connect(context.redis_url, max_connections=most)
    quick = connect(context.redis_url, max_connections=most, timeout_seconds=_GUARD_TIMEOUT_SECONDS)
    keys = Keys(settings.namespace)
    definitions = Definitions(client, keys)
    return Shared(
        context=context,
        worker=f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}",
        client=client,
        keys=keys,
        definitions=definitions,
        store=RunStore(client, keys, definitions, settings.record_policy),
        agents=KeyedCache(
            lambda digest: AgentDefinition.model_validate_json(definitions.get(digest)), size=_AGENTS_CACHED
        ),
        provider=AnthropicProvider(
            ProviderPolicy(threads=settings.worker.concurrency, shards=settings.worker.shards)
        ),
        guard=Guard(quick, Keys(), settings.guard_policy),
        credential=_credential(),
        ledger=Ledger(client, keys, settings.budget_policy),
        cache=open_cache(context, max_connections=most),
    )


def _credential() -> str:
    """As far as the environment says which one the SDK will use."""
    found = os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN")
    return credential_digest(found) if found else "default"
