"""A dependency graph becomes flat groups and flat chords, and what is compiled is what is published."""

from collections import Counter

import celery
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cf_workers.errors import DefinitionMissingError, InputError
from cf_workers.workflows.compiler import Compiler, FlatGroup, Part, describe
from cf_workers.workflows.plan import FINISH, RunHeader
from cf_workers.workflows.record import NewRun
from tests.support.engine import (
    FAILED,
    SUCCEEDED,
    Engine,
    diamond,
    form_of,
    memory_app,
    plan,
    published_form,
    step,
)

# Celery's result backend calls SETEX, which redis-py has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

QUALITY = plan(
    "linter",
    "type-checker",
    "security-scan",
    step("final-review", "linter", "type-checker", "security-scan"),
    name="code-quality-check",
)


@pytest.fixture(scope="module")
def app():
    made = memory_app(None)
    yield made
    made.close()


def compiled(app, of, run="r1", attempt=1, kept=()):
    return Compiler(app, RunHeader(run, attempt, of, kept=frozenset(kept)))


def group_form(group):
    """What a compiled group must look like once it lies in the queues."""
    return [
        published_form(signature, group=group.options["group_id"], group_index=index)
        for index, signature in enumerate(group.tasks)
    ]


def plain(signature):
    """All that a signature says, to be compared."""
    return dict(signature) | {"options": dict(signature.options)}


def test_the_example_of_the_documentation_reads_as_it_is_drawn(app):
    assert describe(compiled(app, QUALITY)) == [
        "group([linter, type-checker, security-scan])",
        "final-review -> group([finish_run])",
        "chord([linter, type-checker, security-scan], final-review)",
    ]


def test_a_diamond_has_one_group_a_fan_out_and_one_chord_a_join(app):
    assert describe(compiled(app, diamond())) == [
        "group([start])",
        "start -> group([left, right])",
        "end -> group([finish_run])",
        "chord([left, right], end)",
    ]


def test_a_fan_out_is_a_celery_group_and_a_join_a_celery_chord(app):
    compiler = compiled(app, QUALITY)

    assert isinstance(compiler.roots(), celery.group)
    assert isinstance(compiler.release("final-review").group, FlatGroup)
    assert isinstance(compiler.chord("final-review"), celery.chord)
    assert compiler.chord("final-review").body == compiler.signature("final-review")


def test_a_large_group_announces_every_member_in_few_messages(app):
    receiver_got = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"task-sent": receiver_got.append})
        events, batches = connection.SimpleQueue(receiver.queue), 0
        compiled(app, plan(*(f"s{n}" for n in range(600)))).roots().apply_async()
        while events.qsize():
            receiver._receive((message := events.get()).payload, message)
            message.ack()
            batches += 1

    assert [event["uuid"] for event in receiver_got] == [f"r1:s{n}" for n in range(600)]
    assert receiver_got[0]["args"] == "agent=s0 step=s0 run=r1"
    assert batches == 2


def test_nothing_is_nested(app):
    compiler = compiled(app, diamond())

    groups = [compiler.roots(), compiler.release("start").group, compiler.chord("end").tasks]
    for group in groups:
        for member in getattr(group, "tasks", group):
            assert type(member) is celery.canvas.Signature
    assert type(compiler.chord("end").body) is celery.canvas.Signature


def test_the_end_of_a_step_makes_ready_what_waited_for_it_alone_and_feeds_joins(app):
    compiler = compiled(app, plan("a", "b", step("alone", "a"), step("both", "b", "a")))

    release = compiler.release("a")

    assert [member.args[1] for member in release.group.tasks] == ["alone"]
    assert release.parts == (Part("both", index=1, size=2),)


def test_an_edge_has_the_same_number_whichever_step_ends_first(app):
    of = plan(*(f"s{n}" for n in range(5)), step("join", *(f"s{n}" for n in (3, 0, 4, 1, 2))))

    forwards, backwards = compiled(app, of), compiled(app, of)
    one = {s: forwards.release(s).parts[0].index for s in ("s0", "s1", "s2", "s3", "s4")}
    other = {s: backwards.release(s).parts[0].index for s in ("s4", "s3", "s2", "s1", "s0")}

    assert one == other == {"s3": 0, "s0": 1, "s4": 2, "s1": 3, "s2": 4}


def test_equal_runs_compile_alike_and_compiling_changes_nothing(app):
    compiler, again = compiled(app, diamond()), compiled(app, diamond())

    for _ in range(2):
        for one in ("start", "left", "right", "end", FINISH):
            assert plain(compiler.signature(one)) == plain(again.signature(one))
        assert compiler.release("left").parts == again.release("left").parts
        assert list(compiler.joins()) == list(again.joins()) == [("end", 2)]
        assert describe(compiler) == describe(again)


def test_a_message_is_immutable_and_says_what_it_is(app):
    signature = compiled(app, plan(step("a", lane="batch"))).signature("a")

    assert signature.immutable
    assert signature.args == ("r1", "a", 1)
    assert signature.options == {
        "task_id": "r1:a",
        "root_id": "r1",
        "queue": "batch",
        "ignore_result": True,
        "argsrepr": "agent=a step=a run=r1",
        "kwargsrepr": "{}",
    }


def test_the_finish_bears_the_id_of_the_run(app):
    signature = compiled(app, plan("a")).signature(FINISH)

    assert (signature.args, signature.options["task_id"], signature.options["queue"]) == (
        ("r1", 1),
        "r1",
        "control",
    )


def test_a_join_is_counted_afresh_in_each_attempt(app):
    assert compiled(app, diamond()).chord_id("end") == "{r1}:end:1"
    assert compiled(app, diamond(), attempt=2).chord_id("end") == "{r1}:end:2"


def test_a_later_attempt_compiles_only_what_is_left(app):
    compiler = compiled(app, diamond(), attempt=2, kept={"start", "left"})

    assert describe(compiler) == [
        "group([right])",
        "right -> group([end])",
        "end -> group([finish_run])",
    ]
    assert list(compiler.joins()) == []


@settings(deadline=None)
@given(st.data())
def test_every_edge_is_released_exactly_once(app, data):
    size = data.draw(st.integers(0, 8))
    of = plan(*(step(f"s{i}", *(f"s{j}" for j in range(i) if data.draw(st.booleans()))) for i in range(size)))
    compiler = compiled(app, of)
    sizes = dict(compiler.joins())

    started = Counter(str(m.args[1]) for m in compiler.roots().tasks)
    parts: dict[str, set[int]] = {}
    for one in of.steps:
        release = compiler.release(one.id)
        started.update(str(m.args[1]) for m in (release.group.tasks if release.group else ()))
        for part in release.parts:
            assert part.size == sizes[part.join]
            assert part.index not in parts.setdefault(part.join, set())
            parts[part.join].add(part.index)

    joins = {join if join != FINISH else "1" for join in sizes}
    everything = {one.id for one in of.steps} | {"1"}  # the finish's second argument is its attempt
    assert started == Counter(everything - joins)
    assert {join: set(range(size)) for join, size in sizes.items()} == parts


def test_the_members_of_a_group_take_no_arguments_from_before(app):
    with pytest.raises(TypeError, match="immutable"):
        compiled(app, QUALITY).roots().apply_async(args=(1,))


# what is published


def test_what_is_published_is_what_was_compiled(engine):
    """From the first message of a run to its last, each equals a compiled signature."""
    run = engine.launcher.start(_new("r1", QUALITY), {})
    header = engine.store.header(run, 1)
    compiler = Compiler(engine.app, header)

    roots = engine.published()
    for one in ("linter", "type-checker", "security-scan"):
        assert engine.published() == []
        engine.finish_step(header, one)
        engine.launcher.release(header, one)
    join = engine.published()
    engine.finish_step(header, "final-review")
    engine.launcher.release(header, "final-review")
    finish = engine.published()

    assert [form_of(message) for message in roots] == group_form(compiler.roots())
    assert [form_of(message) for message in join] == [published_form(compiler.chord("final-review").body)]
    assert [form_of(message) for message in finish] == group_form(compiler.release("final-review").group)


def test_a_step_that_ends_twice_releases_a_join_once(engine):
    run = engine.launcher.start(_new("r1", diamond()), {})
    header = engine.store.header(run, 1)
    for one in ("start", "left"):
        engine.finish_step(header, one)
    engine.published()

    for _ in range(3):
        engine.launcher.release(header, "left")
    assert engine.published() == []
    engine.launcher.release(header, "right")
    assert [message.step for message in engine.published()] == ["end"]
    engine.launcher.release(header, "right")
    assert engine.published() == []


def test_a_message_is_as_small_in_a_graph_of_ten_thousand_steps_as_in_one_of_ten():
    sizes = {}
    for count in (10, 10_000):
        steps = [step(f"s{n:05}", *([f"s{n - 1:05}"] if n else [])) for n in range(count)]
        engine = Engine()
        run = engine.launcher.start(_new("r1", plan(*steps, name="chain")), {})
        header = engine.store.header(run, 1)
        engine.launcher.release(header, "s00003")
        sizes[count] = [message.size for message in engine.published()]
        engine.close()

    assert sizes[10] == sizes[10_000]
    assert max(sizes[10]) < 2_000


def test_a_fan_out_of_a_thousand_is_published_whole(engine):
    of = plan("root", *(step(f"s{n}", "root") for n in range(1000)))
    header = engine.store.header(engine.launcher.start(_new("r1", of), {}), 1)
    engine.published()

    engine.launcher.release(header, "root")

    assert sorted(message.step for message in engine.published()) == sorted(f"s{n}" for n in range(1000))


# starting, again, and sending again


def test_a_run_is_started_once_for_one_idempotency_key(engine):
    first = engine.launcher.start(_new("r1", diamond(), key="k"), {})
    engine.published()

    second = engine.launcher.start(_new("r2", diamond(), key="k"), {})

    assert (first, second) == ("r1", "r1")
    assert engine.published() == []
    assert engine.client.smembers(engine.keys.definition_users(diamond().digest)) == {"r1"}
    assert engine.client.keys("celery-taskset*r2*") == []


def test_a_run_that_is_started_again_publishes_only_what_is_left(engine):
    header = engine.store.header(engine.launcher.start(_new("r1", diamond()), {}), 1)
    for one, outcome in (("start", SUCCEEDED), ("left", SUCCEEDED), ("right", FAILED)):
        engine.finish_step(header, one, outcome)
    engine.store.commit(engine.claim(header, "end"), FAILED)
    engine.store.finish("r1", 1)
    engine.launcher.forget(header)
    engine.published()

    attempt = engine.launcher.restart("r1")

    assert attempt == 2
    assert [(message.step, message.args[2]) for message in engine.published()] == [("right", 2)]
    assert engine.client.smembers(engine.keys.definition_users(diamond().digest)) == {"r1"}


def test_a_join_of_a_second_attempt_is_counted_afresh(engine):
    header = engine.store.header(engine.launcher.start(_new("r1", diamond()), {}), 1)
    engine.finish_step(header, "start")
    for one in ("left", "right", "end"):
        engine.store.commit(engine.claim(header, one), FAILED)
        engine.launcher.release(header, one)
    engine.store.finish("r1", 1)
    engine.launcher.forget(header)
    again = engine.store.header("r1", engine.launcher.restart("r1"))
    assert [message.step for message in engine.published()[-2:]] == ["left", "right"]

    for one in ("left", "right"):
        assert engine.published() == []
        engine.finish_step(again, one)
        engine.launcher.release(again, one)

    assert [message.args for message in engine.published()] == [("r1", "end", 2)]


def test_an_execution_that_is_started_again_sends_its_own_message(engine):
    message = engine.app.signature(
        "cf_workers.run_agent", args=("a",), options={"task_id": "e1", "queue": "interactive"}
    )
    header = engine.record(plan("a"), run="e1", message=dict(message))
    engine.finish_step(header, "a", FAILED)
    engine.store.finish("e1", 1)

    assert engine.launcher.restart("e1") == 2

    assert [(sent.task, sent.id) for sent in engine.published()] == [("cf_workers.run_agent", "e1")]


def test_a_run_that_cannot_be_started_again_keeps_its_result(engine):
    header = engine.store.header(engine.launcher.start(_new("r1", plan("a")), {}), 1)
    engine.finish_step(header, "a")
    engine.store.finish("r1", 1)
    engine.app.backend.store_result("r1", {"success": True}, "SUCCESS")

    with pytest.raises(InputError, match="nothing to retry"):
        engine.launcher.restart("r1")

    assert engine.app.AsyncResult("r1").state == "SUCCESS"


def test_a_run_that_is_started_again_has_no_result_until_it_ends_again(engine):
    header = engine.store.header(engine.launcher.start(_new("r1", plan("a")), {}), 1)
    engine.finish_step(header, "a", FAILED)
    engine.store.finish("r1", 1)
    engine.app.backend.store_result("r1", RuntimeError("failed"), "FAILURE")

    engine.launcher.restart("r1")

    assert engine.app.AsyncResult("r1").state == "PENDING"


def test_a_run_whose_plan_has_gone_is_not_reopened(engine):
    header = engine.store.header(engine.launcher.start(_new("r1", plan("a")), {}), 1)
    engine.finish_step(header, "a", FAILED)
    engine.store.finish("r1", 1)
    engine.client.delete(engine.keys.definition(header.plan.digest))
    elsewhere = Engine(client=engine.client)

    with pytest.raises(DefinitionMissingError):
        elsewhere.launcher.restart("r1")

    assert engine.history.status("r1") == "failed"
    elsewhere.app.close()


def test_a_join_leaves_nothing_in_the_result_backend_when_its_run_has_ended(engine):
    header = engine.store.header(engine.launcher.start(_new("r1", diamond()), {}), 1)
    engine.finish_step(header, "start")
    engine.finish_step(header, "left")
    engine.launcher.release(header, "left")
    assert engine.client.keys("celery-taskset*")

    engine.launcher.forget(header)

    assert engine.client.keys("celery-taskset*") == []


def test_a_single_execution_publishes_the_message_that_its_record_holds(engine):
    message = engine.app.signature(
        "cf_workers.run_agent", args=("a", "hello"), options={"task_id": "e1", "queue": "interactive"}
    )
    header = engine.record(plan("a"), run="e1", message=dict(message))

    engine.launcher.release(header, "a")
    assert engine.published() == []
    engine.launcher.send(header, "a")
    (sent,) = engine.published()
    assert (sent.task, sent.id, sent.args) == ("cf_workers.run_agent", "e1", ("a", "hello"))


def _new(run, of, key=None):
    return NewRun(run=run, kind="workflow", plan=of, idempotency_key=key)
