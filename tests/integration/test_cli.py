"""The command line as a person and a script see it: real processes, a real server, the simulated provider."""

import json
import signal
from itertools import pairwise
from uuid import uuid4

import pytest

from cf_workers._redis import Keys
from cf_workers.embedded import StateDir, state_dir_for
from cf_workers.simulator import ScriptedFault
from cf_workers.workflows.dead_letters import DeadLetter, DeadLetters
from tests.support import eventually
from tests.support.commands import ESCAPE, Commands
from tests.support.embedded import anything_runs
from tests.support.stack import step, user_text

pytestmark = pytest.mark.integration

SLOW = "[[sim latency=30]]"


@pytest.fixture
def project(project):
    """Agents that no other test has: the worker's cache knows none of their answers."""
    for name in ("writer", "reviewer", "tester"):
        project.agent(name, f"You are the {name} of {uuid4().hex}.")
    return project


@pytest.fixture
def cf(stack, project, tmp_path):
    """The command line in a project, on the shared stack with its worker."""
    return Commands(tmp_path, project.root, stack.environ)


@pytest.fixture
def cf_alone(own_stack, project, tmp_path):
    """The same on a server without a worker."""
    return Commands(tmp_path, project.root, own_stack.environ)


@pytest.fixture
def cf_embedded(stack, project, tmp_path):
    """The same with no server configured; in the end nothing that it started runs any more."""
    urls = ("CF_WORKERS_REDIS_URL", "CF_WORKERS_BROKER_URL")
    environ = {name: value for name, value in stack.environ.items() if name not in urls}
    yield Commands(tmp_path, project.root, environ)
    state = state_of(project, tmp_path)
    eventually(lambda: not anything_runs(state), "worker, guardian and server to end")


def state_of(project, home):
    return StateDir(state_dir_for(project.file, {"XDG_STATE_HOME": str(home / ".local" / "state")}))


# -- one agent


def test_an_agent_answers_on_standard_output_and_progress_goes_to_standard_error(cf, stack):
    ended = cf("execute", "writer", "write a haiku")

    assert ended.code == 0
    assert "simulated reply" in ended.out
    assert "writer: started" in ended.err
    assert "writer: succeeded in" in ended.err
    assert not ESCAPE.search(ended.out + ended.err)
    assert len(stack.calls("write a haiku")) == 1


def test_an_execution_in_json_is_one_document_and_can_be_shown_again(cf):
    ended = cf("execute", "writer", "hello", "--json")

    document = ended.document
    assert (document["success"], document["agent_name"], document["errors"]) == (True, "writer", [])
    assert set(document["metadata"]) >= {
        "execution_id", "model", "input_tokens", "output_tokens", "tokens_used", "execution_time_ms",
        "cached", "cache_age_seconds", "estimated_cost", "attempts",
    }  # fmt: skip
    assert cf("runs", "show", document["metadata"]["execution_id"], "--format", "json").document == document


def test_an_execution_in_this_process_needs_no_server_and_gives_the_same_document(
    cf, cf_embedded, stack, project, tmp_path
):
    here = cf_embedded("execute", "writer", "hello", "--sync", "--json").document
    there = cf("execute", "writer", "hello", "--json").document

    assert here["success"] is True
    assert set(here) == set(there)
    assert set(here["metadata"]) == set(there["metadata"])
    first, second = stack.calls("hello")
    assert user_text(first) == user_text(second)
    assert not (tmp_path / ".local" / "state").exists()


def test_a_project_without_the_async_feature_executes_in_the_caller_s_process(cf_alone, own_stack, project):
    project.section("features", async_enabled=False)

    ended = cf_alone("execute", "writer", "hello", "--json")

    assert ended.code == 0
    assert len(own_stack.calls()) == 1
    with own_stack.redis() as client:
        assert client.dbsize() == 0


def test_an_attempt_that_failed_in_this_process_is_repeated(cf, stack):
    ended = cf("execute", "writer", "hello [[sim fail=529 times=2]]", "--sync", "--json")

    assert ended.document["metadata"]["attempts"] == 3
    assert ended.err.count("again in") == 2
    assert len(stack.calls()) == 3


@pytest.mark.parametrize("where", ["--sync", "--async"])
def test_a_wrong_key_costs_one_request_and_says_what_to_do(where, cf, stack):
    stack.simulator.set_faults("401")

    ended = cf("execute", "writer", "hello", where)

    assert ended.code == 1
    assert len(stack.calls()) == 1
    assert "ANTHROPIC_API_KEY" in ended.err
    assert "sk-ant" not in ended.err + ended.out


def test_a_failed_execution_prints_its_whole_document(cf):
    ended = cf("execute", "writer", "hello [[sim fail=400]]", "--json")

    assert ended.code == 1
    assert ended.document["success"] is False
    assert ended.document["metadata"]["error"]["type"] == "CallRejectedError"


def test_a_task_comes_from_standard_input_or_a_file(cf, stack, project):
    (project.root / "task.txt").write_text("from a file")

    assert cf("execute", "writer", "--sync", stdin="from a pipe").code == 0
    assert cf("execute", "writer", "--sync", "--task-file", "task.txt").code == 0

    assert len(stack.calls("from a pipe")) == len(stack.calls("from a file")) == 1


def test_a_detached_execution_prints_its_id_and_can_be_watched(cf, stack, project):
    ended = cf("execute", "writer", "later", "--detach", "--no-cache", "--max-tokens", "99")

    execution = ended.out.strip()
    assert ended.code == 0
    (planned,) = stack.client(project).history.plan(execution).steps
    assert (planned.cacheable, planned.max_tokens) == (False, 99)
    watched = cf("runs", "watch", execution, "--json")
    assert watched.code == 0
    assert watched.document["agent_name"] == "writer"


def test_an_answer_that_is_known_costs_nothing_unless_asked_anew(own_stack, project, tmp_path):
    own_stack.settings["CF_WORKERS_CACHE__ENABLED"] = "true"
    own_stack.worker()
    cf = Commands(tmp_path, project.root, own_stack.environ)
    first = cf("execute", "writer", "hello", "--json")
    second = cf("execute", "writer", "hello")
    third = cf("execute", "writer", "hello", "--no-cache", "--json")

    assert second.out.strip() == first.document["output"].strip()
    assert "writer: succeeded from the cache" in second.err
    assert third.document["metadata"]["cached"] is False
    assert len(own_stack.calls("hello")) == 2


# -- servers and workers


@pytest.mark.parametrize(
    "words",
    [
        ("execute", "writer", "hello"),
        ("run-workflow", "two", "--task", "x"),
    ],
)
def test_waiting_without_a_worker_ends_with_3_and_enqueues_nothing(words, cf_alone, own_stack, project):
    project.workflow("two", "writer", "reviewer")

    ended = cf_alone(*words, "--json")

    assert ended.code == 3
    assert ended.document["success"] is False
    assert ended.document["error"]["type"] == "NoWorkerError"
    assert "celery -A cf_workers worker" in ended.document["error"]["hint"]
    with own_stack.redis() as client:
        assert client.dbsize() == 0


def test_detaching_without_a_worker_enqueues_and_warns(cf_alone, own_stack, project):
    project.workflow("two", "writer", "reviewer")

    ended = cf_alone("run-workflow", "two", "--task", "x", "--detach", "--json")

    assert ended.code == 0
    assert ended.document["success"] is True
    assert (ended.document["workflow_name"], ended.document["status"]) == ("two", "pending")
    assert "no worker listens" in ended.err
    assert own_stack.messages_left() == 1
    assert cf_alone("runs", "watch", ended.document["run_id"]).code == 3
    assert cf_alone("runs", "cancel", ended.document["run_id"]).code == 0
    own_stack.store.flush()  # messages wait for ever for the worker that this test never starts


def test_input_that_cannot_work_costs_no_request_and_leaves_nothing(cf_alone, own_stack, project):
    project.workflow("bad", step("a", "b"), step("b", "a"))
    for words in (
        ("execute", "writr", "x"),
        ("execute", "writer", ""),
        ("execute", "writer", "x", "--model", "claude-2.1", "--sync"),
        ("run-workflow", "bad"),
        ("run-workflow", "nowhere.json"),
        ("runs", "show", "nothing"),
        ("runs", "retry", "nothing"),
        ("execut", "writer", "x"),
    ):
        ended = cf_alone(*words, "--json")
        assert ended.code == 2, words
        assert ended.document["success"] is False

    assert own_stack.simulator.requests() == []
    with own_stack.redis() as client:
        assert client.dbsize() == 0


# -- workflows


@pytest.fixture
def diamond(project):
    return project.workflow(
        "diamond", step("top"), step("left", "top"), step("right", "top"), step("bottom", "left", "right")
    )


def test_a_run_prints_its_results_and_one_line_an_event(cf, diamond):
    ended = cf("run-workflow", "diamond")

    lines = ended.err.splitlines()
    assert ended.code == 0
    assert lines[0] == "top: started (agent writer)"
    assert sum(": succeeded in" in line for line in lines) == 4
    assert "diamond: succeeded after" in ended.err
    assert ended.out.count("simulated reply") == 4
    assert "diamond succeeded: 4 of 4 steps ended" in ended.out
    assert not ESCAPE.search(ended.out + ended.err)


def test_a_run_in_json_is_the_document_that_is_shown_later(cf, diamond):
    document = cf("run-workflow", "diamond", "--json").document

    assert (document["success"], document["status"]) == (True, "succeeded")
    assert document["execution_order"][0] == "top"
    assert document["execution_order"][-1] == "bottom"
    assert {result["status"] for result in document["results"].values()} == {"succeeded"}
    assert cf("runs", "show", document["run_id"], "--json").document == document
    listed = cf("runs", "list", "--json").document["runs"]
    assert listed[0]["run_id"] == document["run_id"]


def test_a_run_that_fails_ends_with_1_and_can_be_retried(cf, stack, project):
    project.workflow("frail", step("good"), step("frail"), step("after", "frail"))
    stack.simulator.set_faults(ScriptedFault("400", contains="do frail"))

    failed = cf("run-workflow", "frail", "--json")

    run = failed.document["run_id"]
    assert failed.code == 1
    assert {name: one["status"] for name, one in failed.document["results"].items()} == {
        "good": "succeeded",
        "frail": "failed",
        "after": "skipped",
    }
    again = cf("runs", "retry", run)
    assert again.code == 0
    assert "frail: running again, 2 steps" in again.err
    assert len(stack.calls("do good")) == 1
    assert cf("runs", "retry", run).code == 2


def test_steps_may_run_one_after_the_other_and_without_each_other_s_output(cf, stack, diamond):
    document = cf("run-workflow", "diamond", "--sequential", "--no-pass-output", "--json").document

    times = [(one["started_at"], one["finished_at"]) for one in document["results"].values()]
    assert all(before[1] <= after[0] for before, after in pairwise(times))
    assert not stack.calls("output of step")


def test_inputs_and_the_task_reach_the_steps(cf, stack, project):
    project.workflow("asked", step("a", task="look at {{ inputs.path }}"))

    assert cf("run-workflow", "asked", "--input", "path=src/main.py", "--task", "be brief").code == 0

    (call,) = stack.calls("look at src/main.py")
    assert "be brief" in user_text(call)


def test_a_run_that_takes_too_long_fails(cf, project):
    project.workflow("slow", step("a", task=SLOW))

    ended = cf("run-workflow", "slow", "--timeout", "0.5", "--json")

    assert ended.code == 1
    assert (ended.document["status"], ended.document["stopping"]) == ("failed", "timeout")


def test_a_terminal_shows_a_living_picture_and_the_results(cf, diamond):
    ended = cf.at_terminal("run-workflow", "diamond", "--task", "[[sim latency=0.3]]")

    assert ended.code == 0
    assert "\x1b[?25l" in ended.out, "the cursor is hidden while the picture is drawn"
    assert "\x1b[?25h" in ended.out, "and shown again"
    assert "running" in ended.plain
    assert "4/4 steps" in ended.plain
    assert "diamond succeeded: 4 of 4 steps ended" in ended.plain


def test_a_terminal_that_wants_no_colours_gets_none(cf, diamond):
    ended = cf.at_terminal("run-workflow", "diamond", NO_COLOR="1", TERM="dumb")

    assert ended.code == 0
    assert not ESCAPE.search(ended.out)


@pytest.mark.parametrize("words", [("run-workflow", "slow"), ("execute", "writer", SLOW)])
def test_an_interruption_tells_how_to_go_on_and_the_run_can_be_cancelled(words, cf, stack, project):
    project.workflow("slow", step("a", task=SLOW), step("b", "a"))

    ended = cf.until("started", signal.SIGINT, *words)

    assert ended.code == 130
    assert "goes on" in ended.err
    run = ended.err.split("cf-workers runs cancel ")[1].split("`")[0]
    assert cf("runs", "show", run, "--json").document["status"] == "running"
    assert cf("runs", "cancel", run).code == 0
    eventually(
        lambda: cf("runs", "show", run, "--json").document["status"] == "cancelled", "the run to be cancelled"
    )


def test_an_interruption_in_json_is_one_document_with_the_id_of_the_run(cf, project):
    project.workflow("slow", step("a", task=SLOW))

    ended = cf.until("started", signal.SIGINT, "run-workflow", "slow", "--json")

    assert ended.code == 130
    assert ended.document["error"]["type"] == "Interrupted"
    assert cf("runs", "cancel", ended.document["error"]["run_id"], "--json").document["success"] is True


def test_an_interruption_at_a_terminal_gives_the_terminal_back(cf, project):
    project.workflow("slow", step("a", task=SLOW))

    ended = cf.at_terminal("run-workflow", "slow", interrupt_at="running")

    assert ended.code == 130
    assert ended.out.count("\x1b[?25h") == ended.out.count("\x1b[?25l") == 1
    assert cf("runs", "cancel", ended.plain.split("cf-workers runs cancel ")[1].split("`")[0]).code == 0


def test_output_that_nobody_reads_to_the_end_is_no_crash(cf):
    ended = cf.into_a_closed_pipe("agents", "list")

    assert ended.code == 1
    assert ended.err == ""


# -- nothing configured


def test_without_any_server_a_command_brings_its_own_and_takes_it_away(cf_embedded, stack):
    ended = cf_embedded("execute", "writer", "hello", "--json")

    assert ended.code == 0, ended.err
    assert ended.document["success"] is True
    assert "started an embedded Valkey" in ended.err
    assert "cache.secret_generated" not in ended.err
    assert "starting a local one for this command" in ended.err
    assert len(stack.calls()) == 1


def test_an_interrupted_run_on_the_embedded_server_is_kept_and_taken_up_again(cf_embedded, stack, project):
    project.workflow("long", step("a"), step("b", "a", task="b [[sim latency=6]]"))

    ended = cf_embedded.until("b: started", signal.SIGINT, "run-workflow", "long")

    assert ended.code == 130
    assert "waits for a worker" in ended.err
    run = ended.err.split("cf-workers runs cancel ")[1].split("`")[0]
    assert cf_embedded("runs", "cancel", run).code == 0
    assert cf_embedded("runs", "retry", run).code == 0
    assert len(stack.calls("do a")) == 1


def test_a_command_that_is_killed_leaves_no_worker_behind(cf_embedded, project):
    project.workflow("long", step("a", task="a [[sim latency=3]]"))

    ended = cf_embedded.until("a: started", signal.SIGKILL, "run-workflow", "long")

    assert ended.code == -signal.SIGKILL


# -- the stand-in and the demo


def test_the_stand_in_says_where_it_is_in_json(processes):
    child = processes.python("-m", "cf_workers", "simulate-api", "--json", until="}")

    document = json.loads(child.output())
    assert document["simulated"] is True
    assert document["url"].startswith("http://127.0.0.1:")


def test_the_demo_runs_on_nothing_of_the_caller_s_and_cleans_up(stack, tmp_path):
    """No project, no server, no key; the caller's own server and API are not touched either."""
    folder = tmp_path / "empty"
    folder.mkdir()
    cf = Commands(tmp_path, folder, {**stack.environ, "TMPDIR": str(folder)})

    ended = cf("demo", "--json")

    told = ended.document
    assert ended.code == 0, ended.err
    assert told["simulated"] is True
    assert "SIMULATED" in ended.err
    assert told["run"]["status"] == "succeeded"
    assert told["timing"]["critical_path"][-1] == "final-review"
    assert told["timing"]["makespan_seconds"] < told["timing"]["sum_seconds"]
    assert "chord([linter, type-checker, security-scan], final-review)" in told["plan"]["canvas"]
    assert stack.calls() == []
    assert list(folder.iterdir()) == []


# -- dead letters


def test_dead_letters_are_listed_dropped_and_not_mistaken(cf, stack, project):
    with stack.redis() as client:
        letters = DeadLetters(client, Keys())
        letters.add(DeadLetter("r1", "a", "writer", 1, 3, ("host:1:x", "host:2:y"), "3 workers died"))

    listed = cf("dlq", "list")
    assert listed.code == 0
    assert all(word in listed.out for word in ("r1", "host:2:y", "3 workers died"))
    assert cf("dlq", "requeue", "r1:a").code == 2, "there is no such run"
    assert cf("dlq", "drop", "r1:a", "--json").document == {
        "success": True,
        "id": "r1:a",
        "run_id": "r1",
        "step": "a",
    }
    assert "no dead letters" in cf("dlq", "list").err
    gone = cf("dlq", "drop", "r1", "a")
    assert gone.code == 2
    assert "no dead letter 'r1:a'" in gone.err


# -- why does nothing happen?


def test_a_run_that_is_under_way_is_explained_step_by_step(cf, project):
    project.workflow("slow", step("a", task=SLOW), step("b", "a"))
    run = cf("run-workflow", "slow", "--detach", "--json").document["run_id"]

    def explained():
        waits = cf("runs", "explain", run, "--json").document["waits"]
        return {wait["step"]: wait for wait in waits} if waits[0]["blocker"] == "worker" else None

    waits = eventually(explained, "the first step to run", timeout=60)

    assert "has been at it for" in waits["a"]["says"]
    assert (waits["b"]["blocker"], waits["b"]["steps"]) == ("dependencies", ["a"])
    assert "the end of a" in cf("runs", "explain", run).out
    assert cf("runs", "cancel", run).code == 0
    eventually(
        lambda: "nothing waits" in cf("runs", "explain", run).out, "the run to be cancelled", timeout=60
    )
    assert cf("runs", "explain", "nothing").code == 2


def test_a_step_without_a_worker_is_explained_by_that(cf_alone, own_stack, project):
    project.workflow("two", "writer", "reviewer")
    run = cf_alone("run-workflow", "two", "--task", "x", "--detach", "--json").document["run_id"]

    waits = cf_alone("runs", "explain", run, "--json").document["waits"]

    assert [wait["blocker"] for wait in waits] == ["no_worker", "dependencies"]
    assert cf_alone("runs", "cancel", run).code == 0
    own_stack.store.flush()


def test_the_doctor_looks_at_the_server_and_the_workers(cf):
    ended = cf("doctor", "--json")

    found = {one["topic"]: one for one in ended.document["findings"]}
    assert found["server role"]["level"] == found["eviction"]["level"] == found["clock"]["level"] == "ok"
    assert found["workers"]["says"] == "1 alive"
    assert found["persistence"]["do"] == "set appendonly yes and appendfsync everysec"
    assert ended.code == 1
    assert "sk-ant" not in ended.out
