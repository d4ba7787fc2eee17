"""With no server configured: one Valkey for all commands, nothing left behind, nothing lost; and `up`."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from cf_workers.embedded import StateDir, state_dir_for
from tests.support import eventually
from tests.support.commands import Commands
from tests.support.embedded import anything_runs
from tests.support.environ import clean_environ
from tests.support.stack import step

pytestmark = pytest.mark.integration

PATIENCE = 90


@pytest.fixture
def environ(stack):
    return {name: value for name, value in stack.environ.items() if name != "CF_WORKERS_REDIS_URL"}


@pytest.fixture
def cf(environ, project, tmp_path):
    """The command line with no server configured; in the end nothing that it started runs any more."""
    yield Commands(tmp_path, project.root, environ)
    path = state_dir_for(project.file, {"XDG_STATE_HOME": clean_environ(tmp_path)["XDG_STATE_HOME"]})
    eventually(lambda: not anything_runs(StateDir(path)), "everything to end", timeout=PATIENCE)


@pytest.fixture
def up(cf, environ, project, processes):
    def start(*words, **more):
        return processes.python(
            *("-m", "cf_workers", "up", *words),
            env={**environ, **more},
            cwd=project.root,
            until="everything runs",
            timeout=PATIENCE,
        )

    return start


def test_two_runs_that_start_at_the_same_moment_share_one_server_and_both_finish(cf, stack, project):
    project.workflow("two", step("a"), step("b", "a"))

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: cf("run-workflow", "two", "--json", timeout=PATIENCE), range(2)))

    assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
    assert sum("started an embedded Valkey" in one.err for one in ended) == 1
    assert any("starting a local one for this command" in one.err for one in ended)
    assert stack.calls_by_task("do a", "do b") == {"do a": 2, "do b": 2}
    listed = {run["run_id"]: run["status"] for run in cf("runs", "list", "--json").document["runs"]}
    assert listed == {one.document["run_id"]: "succeeded" for one in ended}


def test_a_run_whose_command_is_killed_is_kept_and_the_other_one_finishes(cf, stack, project):
    project.workflow("two", step("a"), step("b", "a", task="b [[sim latency=2]]"))

    with ThreadPoolExecutor(2) as pool:
        killed = pool.submit(cf.until, "b: started", signal.SIGKILL, "run-workflow", "two", timeout=PATIENCE)
        other = pool.submit(cf, "run-workflow", "two", "--json", timeout=PATIENCE)

    assert killed.result().code == -signal.SIGKILL
    assert other.result().code == 0, other.result().err
    runs = {run["run_id"]: run["status"] for run in cf("runs", "list", "--json").document["runs"]}
    assert len(runs) == 2
    for run in (run for run, status in runs.items() if status != "succeeded"):
        taken_up = cf("runs", "watch", run, "--json", timeout=PATIENCE)
        assert (taken_up.code, taken_up.document["status"]) == (0, "succeeded"), taken_up.err
    assert len(stack.calls("\\ndo a\\n")) == 2


def test_up_runs_the_whole_stack_and_takes_it_away_in_order(cf, up, project):
    project.workflow("one", step("a"))
    child = up("--flower-port", "0", CF_WORKERS_WORKR__CONCURRENCY="5")

    ended = cf("run-workflow", "one")
    child.signal(signal.SIGINT)

    assert ended.code == 0
    assert "starting a local one" not in ended.err
    assert child.wait(timeout=PATIENCE) == 0
    log = child.output()
    order = [f"up       | stopping {name}" for name in ("worker-1", "beat", "flower", "the server")]
    assert [log.index(line) for line in order] == sorted(log.index(line) for line in order)
    meant = "name=CF_WORKERS_WORKR__CONCURRENCY meant=CF_WORKERS_WORKER__CONCURRENCY"
    assert any(line.startswith("worker-1 | ") and meant in line for line in log.splitlines())
    assert "Flower is at http://127.0.0.1:" in log


def test_up_that_is_killed_takes_its_processes_with_it(cf, up):
    up("--no-flower", "--no-beat").kill()


def test_a_worker_that_drains_is_no_longer_counted_on(own_stack, project):
    worker = own_stack.worker(cwd=project.root)
    client = own_stack.client(project)
    assert len(client.workers("interactive")) == 1
    client.submit("writer", "slow [[sim latency=60]]")
    own_stack.eventually_called("slow")

    worker.signal(signal.SIGTERM)

    eventually(lambda: client.workers("interactive") == [], "the worker to leave the list", timeout=PATIENCE)
    assert worker.running
    worker.signal(signal.SIGTERM)
    worker.wait(timeout=PATIENCE)
    own_stack.store.flush()  # the message has gone back, and waits for a worker that this test never starts
