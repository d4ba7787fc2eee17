"""Schedules with real beats: however many there are and however they end, a tick is one run."""

import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from cf_workers._redis import Keys
from cf_workers.schedules.ticker import tick_key
from tests.support import eventually
from tests.support.stack import step, system_text

pytestmark = pytest.mark.integration

PERMANENT_KEYS = ("cfw:redbeat:*",)

EVERY_SECONDS = 1
PATIENCE = 60


class Scheduled:
    """A project with a schedule of its own name, and what came of it."""

    def __init__(self, stack, project):
        self.stack = stack
        self.project = project
        self.name = f"often-{uuid4().hex[:8]}"
        self.since = int(time.time())
        self.beats = []
        project.agent("writer", f"You write for {self.name}.")
        project.workflow(self.name, step("say", task=f"say {self.name}", cacheable=False))
        project.section(
            "schedules", **{self.name: {"every": EVERY_SECONDS, "workflow": self.name, "overlap": "queue"}}
        )

    def beat(self, *arguments):
        beat = self.stack.celery(
            "beat",
            "-l",
            "INFO",
            *arguments,
            cwd=self.project.root,
            until="beat: Starting",
            CF_WORKERS_CONFIG="",
        )
        self.beats.append(beat)
        return beat

    def runs(self):
        """The runs of this schedule's workflow by id, with their status."""
        client = self.stack.client(self.project)
        newest = client.history.newest(limit=200)
        return {one["run_id"]: one["status"] for one in newest if one["workflow_name"] == self.name}

    def ticks(self):
        """The run of each tick that there was, as their idempotency keys say."""
        first = self.since - self.since % EVERY_SECONDS
        planned = range(first, int(time.time()) + 1, EVERY_SECONDS)
        keys = [tick_key(self.name, datetime.fromtimestamp(moment, UTC)) for moment in planned]
        with self.stack.redis() as redis:
            return [run for run in redis.mget([Keys().idempotency(key) for key in keys]) if run]

    def eventually_ran(self, count):
        eventually(lambda: len(self.runs()) >= count, f"{count} runs", timeout=PATIENCE, every=0.1)

    def eventually_idle(self):
        """All beats have ended, and what they started has, too."""
        ended = {"succeeded"}
        eventually(
            lambda: {*self.runs().values()} <= ended, "all runs to succeed", timeout=PATIENCE, every=0.1
        )


@pytest.fixture
def scheduled(stack, project):
    made = Scheduled(stack, project)
    yield made
    for beat in made.beats:
        beat.kill()
    made.eventually_idle()


def test_two_beats_start_one_run_a_tick_also_when_one_of_them_is_killed(scheduled, stack):
    first, second = scheduled.beat(), scheduled.beat()
    scheduled.eventually_ran(2)
    first.kill()
    scheduled.eventually_ran(len(scheduled.runs()) + 1)
    assert second.terminate() == 0

    scheduled.eventually_idle()
    runs = scheduled.runs()
    assert sorted(runs) == sorted(scheduled.ticks())
    calls = stack.calls(f"say {scheduled.name}")
    assert len(calls) == len(runs)
    assert any(scheduled.name in text for text in system_text(calls[0]))  # a worker that has no such agent
    assert not list(scheduled.project.root.glob("celerybeat*"))


def test_with_redbeat_one_beat_does_all_and_another_takes_over_when_its_lock_has_run_out(scheduled, stack):
    pytest.importorskip("redbeat")
    leader = scheduled.beat("-S", "cf_workers.redbeat:Scheduler")
    leader.wait_for("Acquired lock", timeout=PATIENCE)
    standby = scheduled.beat("-S", "cf_workers.redbeat:Scheduler")
    scheduled.eventually_ran(2)
    assert "schedule.ticked" not in standby.output()

    leader.kill()
    with stack.redis() as redis:  # rather than waiting for it
        assert redis.pttl("cfw:redbeat:lock") > 0
        redis.delete("cfw:redbeat:lock")
    standby.wait_for("Acquired lock", timeout=PATIENCE)
    scheduled.eventually_ran(len(scheduled.runs()) + 1)
    standby.wait_for("schedule.ticked", timeout=PATIENCE)

    assert standby.terminate() == 0
    assert sorted(scheduled.runs()) == sorted(scheduled.ticks())
