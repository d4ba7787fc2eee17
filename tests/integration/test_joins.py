"""The contract of `workflows/joins.py` with Celery's Redis backend, whose chord calls are not public."""

import base64
import json
from uuid import uuid4

import pytest
from celery import Celery, chord

from cf_workers.reliability import install, reliable_configuration
from cf_workers.workflows.compiler import Compiler, Part
from cf_workers.workflows.joins import Joins
from cf_workers.workflows.plan import FINISH, Plan, PlannedStep, RunHeader

pytestmark = pytest.mark.integration

ACTIVE = 3600
PERMANENT_KEYS = ("batch", "control")  # queues that nobody reads here


def planned(id, *dependencies):
    return PlannedStep(
        id=id,
        agent="writer",
        definition="0" * 64,
        model="m",
        max_tokens=1,
        timeout_seconds=1,
        dependencies=dependencies,
        lane="background",
    )


@pytest.fixture
def app(valkey):
    made = Celery("contract", set_as_current=False)
    made.conf.update(
        reliable_configuration(
            redis_url=valkey.url, queues=("control", "interactive", "batch"), chord_expires=ACTIVE
        )
    )
    install(made)
    yield made
    made.close()


@pytest.fixture
def client(valkey):
    with valkey.client() as connection:
        yield connection


@pytest.fixture
def joins(app):
    return Joins(app)


@pytest.fixture
def compiler(app):
    steps = (planned("a"), planned("b"), planned("c"), planned("join", "a", "b", "c"))
    return Compiler(
        app, RunHeader.of_first_attempt(f"run-{uuid4().hex[:8]}", Plan(workflow="w", steps=steps))
    )


@pytest.fixture
def chord_id(compiler):
    return compiler.chord_id("join")


def report(joins, compiler, *steps):
    for name in steps:
        (part,) = compiler.release(name).parts
        joins.part(compiler.chord_id("join"), name, part, compiler.signature("join"))


def published(client, queue="batch"):
    return [json.loads(raw) for raw in client.lrange(queue, 0, -1)]


def keys_of(client, chord_id):
    return sorted(key.decode() for key in client.scan_iter(count=1000) if chord_id in key.decode())


def test_a_size_is_written_as_celery_writes_it(joins, app, client):
    joins.size([("ours", 3)])
    app.backend.set_chord_size("celerys", 3)

    ours, celerys = (app.backend.get_key_for_group(name, ".s") for name in ("ours", "celerys"))
    assert keys_of(client, "ours") == [ours.decode()]
    assert client.get(ours) == client.get(celerys) == b"3"
    assert ACTIVE - 5 < client.ttl(ours) <= ACTIVE
    assert abs(client.ttl(ours) - client.ttl(celerys)) <= 1


def test_the_body_is_published_once_when_the_last_part_arrives_and_is_what_was_compiled(
    joins, compiler, chord_id, client
):
    joins.size([(chord_id, 3)])

    report(joins, compiler, "a", "c")
    assert published(client) == []
    report(joins, compiler, "b")

    (message,) = published(client)
    compiled = compiler.chord("join").body
    args, kwargs, embedded = json.loads(_body(message))
    assert message["headers"]["task"] == compiled.task
    assert message["headers"]["id"] == compiled.options["task_id"]
    assert message["headers"]["argsrepr"] == compiled.options["argsrepr"]
    assert message["headers"]["root_id"] == compiled.options["root_id"]
    assert (args, kwargs) == (list(compiled.args), {}), "the results of the parts are not handed over"
    assert not embedded["chord"]
    assert isinstance(compiler.chord("join"), chord)


@pytest.mark.parametrize("again", ["a", "b", "c"])
def test_a_part_counts_once_however_often_it_is_reported(joins, compiler, chord_id, client, again):
    joins.size([(chord_id, 3)])

    report(joins, compiler, again, again, again)
    assert published(client) == []
    report(joins, compiler, *(name for name in "abc" if name != again))
    report(joins, compiler, again, *"abc")

    assert len(published(client)) == 1


def test_parts_that_arrive_before_the_size_are_not_lost(joins, compiler, chord_id, client):
    report(joins, compiler, "a", "b")
    joins.size([(chord_id, 3)])

    report(joins, compiler, "c")

    assert len(published(client)) == 1


def test_joins_of_two_attempts_do_not_count_together(joins, app, client):
    plan = Plan(workflow="w", steps=(planned("a"), planned("b"), planned("join", "a", "b")))
    first, second = (Compiler(app, RunHeader("run", attempt, plan)) for attempt in (1, 2))
    joins.size([(first.chord_id("join"), 2), (second.chord_id("join"), 2)])

    report(joins, first, "a")
    report(joins, second, "b")
    assert published(client) == []
    report(joins, second, "a")

    (message,) = published(client)
    assert json.loads(_body(message))[0] == ["run", "join", 2]


def test_a_step_that_feeds_two_joins_is_a_part_of_each(joins, app, client):
    steps = (planned("a"), planned("b"), planned("c"), planned("left", "a", "b"), planned("right", "b", "c"))
    compiler = Compiler(app, RunHeader.of_first_attempt("run", Plan(workflow="w", steps=steps)))
    joins.size([(compiler.chord_id(name), size) for name, size in compiler.joins()])

    for name in "abc":
        for part in compiler.release(name).parts:
            joins.part(compiler.chord_id(part.join), name, part, compiler.signature(part.join))

    assert sorted(message["headers"]["id"] for message in published(client)) == ["run:left", "run:right"]


def test_the_end_of_a_run_is_a_join_of_its_last_steps(joins, app, client):
    compiler = Compiler(
        app, RunHeader.of_first_attempt("run", Plan(workflow="w", steps=(planned("a"), planned("b"))))
    )
    joins.size([(compiler.chord_id(FINISH), 2)])

    for name in "ab":
        (part,) = compiler.release(name).parts
        joins.part(compiler.chord_id(FINISH), name, part, compiler.signature(FINISH))

    (message,) = published(client, "control")
    assert (message["headers"]["task"], message["headers"]["id"]) == ("cf_workers.finish_run", "run")


@pytest.mark.parametrize("reported", ["", "a", "ab", "abc", "abca"])
def test_nothing_is_left_of_a_join_that_was_forgotten(joins, compiler, chord_id, client, reported):
    joins.size([(chord_id, 3)])
    report(joins, compiler, *reported)
    assert keys_of(client, chord_id) or not reported

    joins.forget([chord_id])

    assert keys_of(client, chord_id) == []


def test_everything_that_a_join_writes_expires(joins, compiler, chord_id, client):
    joins.size([(chord_id, 3)])

    for name in "abc":
        report(joins, compiler, name)
        assert all(client.ttl(key) > 0 for key in keys_of(client, chord_id))


def test_a_thousand_parts_count_exactly(joins, app, client):
    sources = [planned(f"s{n}") for n in range(1000)]
    plan = Plan(workflow="w", steps=(*sources, planned("join", *(one.id for one in sources))))
    compiler = Compiler(app, RunHeader.of_first_attempt("run", plan))
    joins.size([(compiler.chord_id("join"), 1000)])

    report(joins, compiler, *(one.id for one in sources[:-1]))
    assert published(client) == []
    report(joins, compiler, sources[-1].id)

    assert len(published(client)) == 1
    assert compiler.release("s999").parts == (Part("join", 999, 1000),)


def _body(message):

    return base64.b64decode(message["body"])
