"""A program's client on the engine without a server, with a cache beside it."""

from __future__ import annotations

from functools import cached_property

import fakeredis
import pytest

from cf_workers._redis import Keys
from cf_workers.agents.definition import AgentDefinition, AgentReply, Usage
from cf_workers.answers import call_for, entry_of, key_of
from cf_workers.cache import Cache, CachePolicy, GivenSecret
from cf_workers.client import Client
from cf_workers.planning import read_options
from tests.support.engine import Engine, FakeServer, fake_client
from tests.support.projects import write_project
from tests.support.time import StandingClock

MODEL = "claude-haiku-4-5"


class House:
    """A client, its engine, and the answers that are known to its fleet."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.engine = Engine(client=fake_client())
        self.clock = StandingClock()
        self.cache = Cache(
            fakeredis.FakeRedis(server=FakeServer()),
            Keys(),
            GivenSecret(b"a secret"),
            clock=self.clock,
            policy=CachePolicy(ttl_seconds=100, stale_seconds=100),
        )
        self._clients: list[Client] = []

    def client(self, **document) -> Client:
        """A client of a project whose file says `document`."""
        house = self

        class Offline(Client):
            _redis = cached_property(lambda self: house.engine.client)
            _app = cached_property(lambda self: house.engine.app)
            cache = cached_property(lambda self: house.open_cache())

        file = write_project(self.folder, "greeter", "writer", **document)
        made = Offline(file, "redis://nowhere.invalid:1/0")
        self._clients.append(made)
        return made

    def open_cache(self) -> Cache:
        return self.cache

    def learn(self, client: Client, agent: str, task: str, output: str = "hello", **options) -> str:
        """Let a worker have answered a call; returns the key of its answer."""
        (step,) = (planned := client.check_execution(agent, task, read_options(options))).plan.steps
        definition = AgentDefinition.model_validate_json(planned.definitions[step.definition])
        call = call_for(definition, step, task=task)
        key = key_of(call, client.settings.answers_namespace)
        reply = AgentReply(output, MODEL, Usage(input_tokens=1000, output_tokens=100), "end_turn", "req_1")
        entry = entry_of(call, reply, workflow="")
        assert self.cache.store(key, entry.document, tags=entry.tags, cost_nanos=entry.cost_nanos)
        return key

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.engine.close()


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.close()
