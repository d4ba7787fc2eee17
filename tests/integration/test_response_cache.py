"""Is nothing paid for twice? Real workers, a real server, and calls counted where they arrive."""

import json
import time

import pytest
from celery.result import AsyncResult
from click.testing import CliRunner

from cf_workers.cli.program import program
from cf_workers.simulator import ScriptedFault
from tests.support import eventually
from tests.support.brokers import own_broker
from tests.support.commands import Ended
from tests.support.processes import Processes
from tests.support.servers import RealServer, Store
from tests.support.stack import QUICK_TO_BURY, ProjectFolder, Stack, running_simulator, step

pytestmark = pytest.mark.integration

CACHED = {"CF_WORKERS_CACHE__ENABLED": "true"}


@pytest.fixture(scope="module")
def module_stack(tmp_path_factory):
    """Two workers that keep answers, in a project of their own."""
    home = tmp_path_factory.mktemp("cached-workers")
    house = ProjectFolder(home)
    processes = Processes(home)
    with RealServer(port=None) as server, running_simulator() as simulator, own_broker() as broker:
        stack = Stack(Store(f"{server.connection_url}/0"), simulator, processes, **CACHED, **broker)
        stack.house = house.agent("writer").agent("reviewer")
        workers = [stack.celery("worker", "-n", f"w{n}@test", cwd=home, until=None) for n in range(2)]
        for worker in workers:
            worker.wait_for(" ready.")
        yield stack
        stack.close()
        for child in processes:
            child.kill()


@pytest.fixture
def fleet(module_stack):
    """The workers with an empty cache, a plain project and a provider that remembers nothing."""
    module_stack.simulator.reset()
    module_stack.house.agent("writer").agent("reviewer").section("cache")
    client = module_stack.client(module_stack.house)
    client.cache.clear()
    yield module_stack
    module_stack.close()


@pytest.fixture
def client(fleet):
    return fleet.client(fleet.house)


def metadata_of(handle, timeout=20):
    return handle.result(timeout=timeout).metadata


def by_worker(fleet):
    """A client that leaves every answer to the workers."""
    fleet.settings["CF_WORKERS_CACHE__SHORT_CUT"] = "false"
    try:
        return fleet.client(fleet.house)
    finally:
        del fleet.settings["CF_WORKERS_CACHE__SHORT_CUT"]


def test_a_hit_costs_nothing_and_says_what_it_saved(fleet):
    client = by_worker(fleet)
    first = client.submit("writer", "say hello").result(timeout=60)

    handle = client.submit("writer", "say hello")
    second = handle.result(timeout=60)

    assert second.output == first.output
    assert (first.metadata["cached"], second.metadata["cached"]) == (False, True)
    assert second.metadata["cache_age_seconds"] >= 0
    assert second.metadata["estimated_cost"] == 0
    assert second.metadata["attempts"] == 0
    record = client.history.document(handle.id)
    assert record["saved_cost"] == pytest.approx(first.metadata["estimated_cost"], rel=1e-6)
    assert len(fleet.calls()) == 1


def test_the_producer_gives_a_known_answer_itself_and_leaves_a_finished_run(fleet, client):
    first = client.submit("writer", "say hello").result(timeout=60)
    heard = fleet.redis().llen("interactive")

    handle = client.submit("writer", "say hello")

    assert handle.status() == "succeeded", "it has ended when submit returns"
    result = handle.result(timeout=1)
    assert (result.output, result.metadata["cached"]) == (first.output, True)
    assert (result.metadata["estimated_cost"], result.metadata["attempts"]) == (0, 0)
    assert client.history.document(handle.id)["saved_cost"] > 0
    assert [event.type for event in handle.events()][-2:] == ["step.succeeded", "run.finished"]
    assert client.history.newest(limit=1)[0]["run_id"] == handle.id
    assert AsyncResult(handle.id, app=client._app).get(timeout=60)["output"] == first.output
    assert fleet.redis().llen("interactive") == heard == 0
    assert len(fleet.calls()) == 1


def test_the_producer_needs_no_worker_for_what_is_known(fleet, client):
    client.submit("writer", "say hello").result(timeout=60)

    known = client.recall("writer", "say hello")
    unknown = client.recall("writer", "say something else")

    assert known.result(timeout=1).metadata["cached"]
    assert unknown is None


def test_a_repeated_idempotency_key_is_the_first_execution_whatever_the_cache_knows(fleet, client):
    first = client.submit("writer", "once", idempotency_key="k-1")
    first.result(timeout=60)

    again = client.submit("writer", "once", idempotency_key="k-1")

    assert again.id == first.id
    assert not again.result(timeout=60).metadata["cached"]


def test_whatever_shapes_the_answer_makes_another_call(fleet, client):
    def cached(**options):
        return metadata_of(client.submit("writer", options.pop("task", "the task"), **options))["cached"]

    assert not cached()
    assert cached()
    assert not cached(task="the task.")
    assert not cached(max_tokens=77)
    assert not cached(model="claude-haiku-4-5")
    fleet.house.agent("writer", "You are a writer of another kind.")
    assert not cached()
    fleet.house.agent("writer", "You are a writer of another kind.", contract="output: text\n")
    assert not cached()
    fleet.house.agent("writer")
    assert cached(), "as it was at first"
    assert not cached(cacheable=False)
    assert len(fleet.calls()) == 7


def test_a_step_is_asked_again_when_an_output_before_it_has_changed(fleet, client):
    project = fleet.house.workflow("pair", step("a"), step("b", "a", agent="reviewer"))

    def run():
        results = fleet.client(project).start_workflow("pair").result(timeout=60).results
        return {name: one.cached for name, one in results.items()}

    assert run() == {"a": False, "b": False}
    assert run() == {"a": True, "b": True}
    fleet.house.workflow("pair", step("a", task="do a otherwise"), step("b", "a", agent="reviewer"))
    assert run() == {"a": False, "b": False}


def test_a_cleared_cache_is_cleared_everywhere(fleet, client):
    other = by_worker(fleet)
    for number in range(4):
        client.submit("writer", f"task {number}").result(timeout=60)

    assert client.cache.clear() == 4

    for number in range(4):
        assert not metadata_of(other.submit("writer", f"task {number}"))["cached"]
    assert len(fleet.calls()) == 8


def test_answers_that_are_cut_off_refused_or_empty_are_not_kept(fleet, client):
    kept = client.cache.stats().stores

    for fault in ("max_tokens", "refusal", "empty"):
        for _ in range(2):
            client.execute_many([("writer", f"[[sim fail={fault}]]")], timeout=60, max_retries=0)

    assert [len(fleet.calls(f"fail={fault}")) for fault in ("max_tokens", "refusal", "empty")] == [2, 2, 2]
    assert client.cache.stats().stores == kept


def test_a_project_excludes_agents_and_turns_the_cache_off_without_a_restart(fleet, client):
    def cached(agent="writer"):
        return [metadata_of(each.submit(agent, "say it"))["cached"] for each in (client, by_worker(fleet))]

    cached(), cached("reviewer")

    fleet.house.section("cache", exclude_agents=["reviewer"])
    assert (cached(), cached("reviewer")) == ([True, True], [False, False])
    fleet.house.section("features", cache_enabled=False)
    assert cached() == [False, False]
    fleet.house.section("features", cache_enabled=True)
    assert cached() == [True, True]


def test_many_identical_calls_make_one_request_and_all_get_its_answer(fleet):
    client = by_worker(fleet)
    before = client.cache.stats()
    fleet.simulator.configure(latency=1.0)

    handles = [client.submit("writer", "the same for all") for _ in range(200)]
    outputs = [handle.result(timeout=60).output for handle in handles]

    assert len(set(outputs)) == 1
    assert len(fleet.calls()) == 1
    stats = client.cache.stats()
    assert (stats.hits - before.hits, stats.misses - before.misses) == (199, 1)


def test_only_the_leaders_own_failure_does_not_fail_its_followers(fleet):
    client = by_worker(fleet)
    fleet.simulator.configure(latency=0.5)
    fleet.simulator.set_faults(ScriptedFault("500", times=1))

    outcomes = client.execute_many([("writer", "the same")] * 10, timeout=60)

    assert all(one.ok for one in outcomes)
    assert len(fleet.calls()) <= 3


# -- the commands


@pytest.fixture
def cf(fleet, monkeypatch):
    """The command line in the fleet's project, in this process."""
    monkeypatch.chdir(fleet.house.root)

    def run(*words):
        with fleet.set():
            ended = CliRunner().invoke(program, list(words))
        return Ended(ended.exit_code, ended.stdout, ended.stderr)

    return run


def test_what_the_cache_saved_can_be_seen_inspected_and_taken_out(fleet, client, cf):
    client.submit("writer", "one").result(timeout=60)
    client.submit("reviewer", "two").result(timeout=60)
    known = cf("execute", "writer", "one", "--json").document["metadata"]

    stats = cf("cache", "stats", "--json").document
    entry = cf("cache", "inspect", known["cache_key"], "--json").document
    shown = cf("cache", "inspect", known["cache_key"], "--content", "--json").document

    assert (stats["enabled"], stats["entries"]) == (True, 2)
    assert stats.keys() >= {"hits", "misses", "hit_rate", "evictions", "bytes", "integrity_failures"}
    assert stats["saved_cost"] >= known["saved_cost"] > 0
    assert entry["tags"] == {"agent": "writer", "workflow": "writer", "model": known["model"]}
    assert "content" not in entry
    assert "simulated reply" in shown["content"]["output"]
    assert cf("cache", "invalidate", "--agent", "writer", "--json").document["removed"] == 1
    assert cf("cache", "invalidate", "--older-than", "1h", "--json").document["removed"] == 0
    assert cf("cache", "clear").code == 2, "nobody is there to be asked"
    assert cf("cache", "clear", "--yes", "--json").document["removed"] == 1
    assert cf("cache", "inspect", known["cache_key"]).code == 2
    assert cf("cache", "invalidate").code == 2


def test_a_cache_that_was_warmed_is_warm(fleet, client, cf, tmp_path):
    file = tmp_path / "calls.jsonl"
    calls = [{"agent": "writer", "task": f"warm {n}"} for n in range(5)]
    calls.append({"agent": "reviewer", "task": "warm 5", "max_tokens": 99})
    file.write_text("\n".join(map(json.dumps, calls)) + "\n")

    first, second = (cf("cache", "warm", str(file), "--json") for _ in range(2))

    assert (first.document["called"], first.document["known"]) == (6, 0), first.err
    assert (second.document["called"], second.document["known"]) == (0, 6)
    assert second.document["estimated_cost"] == 0
    assert len(fleet.calls()) == client.cache.stats().entries == 6


def test_beat_can_warm_the_cache_and_a_second_time_costs_nothing(fleet, client):
    lines = [json.dumps({"agent": "writer", "task": f"before anybody asks {n}"}) for n in range(5)]

    def warmed():
        return client._app.send_task("cf_workers.warm_cache", args=(lines,), queue="batch").get(timeout=60)

    assert warmed() == {"lines": 5, "known": 0, "enqueued": 5}
    eventually(lambda: client.cache.stats().entries == 5, "all answers are known")

    assert warmed() == {"lines": 5, "known": 5, "enqueued": 0}
    assert len(fleet.calls()) == 5


def test_an_execution_in_the_callers_process_shares_answers_with_the_workers(fleet, client, cf):
    by_a_worker = client.submit("writer", "known by a worker").result(timeout=60)
    here = cf("execute", "writer", "known by a worker", "--sync", "--json").document
    made_here = cf("execute", "writer", "made here", "--sync", "--json").document
    after = client.submit("writer", "made here").result(timeout=60)

    assert (here["output"], here["metadata"]["cached"]) == (by_a_worker.output, True)
    assert (made_here["metadata"]["cached"], after.metadata["cached"]) == (False, True)
    assert after.output == made_here["output"]
    assert len(fleet.calls()) == 2


def test_a_file_to_warm_from_is_checked_as_a_whole_before_anything_is_sent(fleet, cf, tmp_path):
    fleet.house.section("cache", exclude_agents=["reviewer"])
    file = tmp_path / "calls.jsonl"
    good = json.dumps({"agent": "writer", "task": "warm"})
    bad = ["{", "[]", '{"agent": "writer"}', '{"agent": "nobody", "task": "x"}']
    bad += ['{"agent": "writer", "task": "x", "color": 1}', '{"agent": "reviewer", "task": "x"}']
    file.write_text("\n".join([good, "", *bad]))

    ended = cf("cache", "warm", str(file), "--json")

    assert ended.code == 2
    assert [one["line"] for one in ended.document["error"]["problems"]] == [3, 4, 5, 6, 7, 8]
    assert fleet.calls() == []


# -- what goes wrong


def cached_stack(own_stack, **settings):
    own_stack.settings.update({**CACHED, **settings})
    return own_stack


def test_a_leader_killed_in_its_call_is_replaced_by_one_of_its_followers(own_stack, project):
    stack = cached_stack(own_stack, **QUICK_TO_BURY, CF_WORKERS_CACHE__LEASE_SECONDS="2")
    workers = [stack.celery("worker", "-n", f"w{n}@test", cwd=project.root, until=None) for n in range(2)]
    for worker in workers:
        worker.wait_for(" ready.")
    stack.simulator.configure(latency=60)
    client = stack.client(project)
    handles = [client.submit("writer", "the same") for _ in range(20)]
    stack.eventually_called("the same")
    eventually(lambda: sum(handle.status() == "parked" for handle in handles) == 19, "followers to wait")

    leader = next(handle.id for handle in handles if handle.status() == "running")
    state = json.loads(stack.redis().hget(client._keys.run(leader).steps, "writer"))
    stack.simulator.configure(latency=0)
    next(worker for worker in workers if worker.pid == int(state["w"].split(":")[1])).kill()

    outputs = {handle.result(timeout=60).output for handle in handles}
    assert len(outputs) == 1
    assert len(stack.calls("the same")) == 2


def test_answers_outlive_every_worker(own_stack, project):
    stack = cached_stack(own_stack, CF_WORKERS_CACHE__SHORT_CUT="false")
    for expected in (False, True):
        worker = stack.worker(cwd=project.root)
        assert metadata_of(stack.client(project).submit("writer", "keep it"))["cached"] is expected
        worker.kill()

    assert len(stack.calls()) == 1


def test_without_the_caches_server_every_run_completes_within_the_bound(own_stack, project):
    with RealServer(port=None) as server:
        stack = cached_stack(own_stack, CF_WORKERS_CACHE_URL=server.connection_url)
        stack.simulator.configure(latency=0.2)
        stack.worker(cwd=project.root)
        client = stack.client(project)
        assert not metadata_of(client.submit("writer", "known"))["cached"]
        assert metadata_of(client.submit("writer", "known"))["cached"]
        handles = [client.submit("writer", f"task {number}") for number in range(10)]
    began = time.monotonic()
    handles += [client.submit("writer", "known") for _ in range(10)]

    outcomes = [handle.result(timeout=60) for handle in handles]

    assert all(one.output for one in outcomes)
    assert time.monotonic() - began < 30, "no look waits for longer than a quarter of a second"
    assert not any(one.metadata["cached"] for one in outcomes)


def test_an_expired_answer_is_given_and_marked_while_no_call_can_be_made(own_stack, project):
    stack = cached_stack(
        own_stack,
        CF_WORKERS_CACHE__TTL_HOURS=str(1 / 3600),
        CF_WORKERS_BREAKER__CONSECUTIVE_FAILURES="2",
        CF_WORKERS_BREAKER__COOLDOWN_SECONDS="30",
    )
    stack.worker(cwd=project.root)
    client = stack.client(project)
    first = client.submit("writer", "known").result(timeout=60)
    eventually(lambda: client.cache.stats().entries and expired(client), "the answer to expire")
    stack.simulator.set_faults(ScriptedFault("529", times=None))
    client.execute_many([("writer", "x"), ("writer", "y")], timeout=60, max_retries=0)

    again = client.submit("writer", "known").result(timeout=60)

    assert (again.output, again.metadata["cached"], again.metadata["stale"]) == (first.output, True, True)
    assert again.metadata["cache_age_seconds"] > 1
    assert len(stack.calls("known")) == 1


def expired(client):
    return client.recall("writer", "known") is None
