"""Whatever the number of beats, each tick is carried out once and as the policies say."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cf_workers._redis import Keys
from cf_workers.errors import InputError
from cf_workers.schedules import Ledger, ScheduleSpec, Ticker, TickPolicy, parse_cron, parse_interval
from tests.support.engine import fake_client
from tests.support.keys import assert_nothing_leaked

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
HOURLY = ScheduleSpec("report", parse_interval("1h"), workflow="w")


class Town:
    """A server, a clock, runs that a test ends, and as many tickers as it likes."""

    def __init__(self, client):
        self.ledger = Ledger(client, Keys())
        self.time = NOON - 60
        self.keys = []
        self.statuses = {}
        self.cancelled = []
        self.broken = None

    def now(self):
        return self.time

    def sleep(self, seconds):
        raise AssertionError("a ticker does not wait")

    def ticker(self, start=None):
        return Ticker(
            self.ledger,
            start=start or self.start,
            status=self.statuses.get,
            cancel=self.cancel,
            clock=self,
            policy=TickPolicy(longest_queue=3),
        )

    def start(self, spec, key):
        if self.broken:
            raise self.broken
        run = f"run of {key}"
        if key not in self.keys:  # as a record does it: the same key is the same run
            self.keys.append(key)
            self.statuses[run] = "running"
        return run

    def cancel(self, run):
        self.cancelled.append(run)
        self.statuses[run] = "cancelled"

    def end_runs(self):
        self.statuses = dict.fromkeys(self.statuses, "succeeded")

    def look_at(self, time, spec=HOURLY, ticker=None):
        self.time = time
        ticked, _ = (ticker or self.ticker()).look([spec])
        return [one.outcome for one in ticked]

    def standing(self, name="report"):
        return self.ledger.standings([name])[name]


@pytest.fixture
def town(fake_redis_text):
    made = Town(fake_redis_text)
    made.look_at(NOON - 60)
    return made


@pytest.fixture
def fake_redis_text():
    client = fake_client()
    yield client
    assert_nothing_leaked(client, None)
    client.close()


def hours(number):
    return NOON + number * 3600


def test_a_schedule_that_is_seen_for_the_first_time_has_missed_nothing(town):
    spec = replace(HOURLY, name="new", missed="run_once")

    assert town.look_at(NOON + 1, spec) == []
    assert town.look_at(hours(1), spec) == ["start"]


def test_a_tick_starts_one_run_under_a_key_of_its_name_and_planned_moment(town):
    assert town.look_at(NOON + 2) == ["start"]
    assert town.look_at(NOON + 3) == []

    assert town.keys == ["schedule:report:2026-01-01T12:00:00Z"]
    assert town.standing().run == "run of schedule:report:2026-01-01T12:00:00Z"


def test_two_beats_that_look_at_the_same_time_start_one_run(town):
    def start_while_another_beat_looks(spec, key):
        if not town.keys:
            other = town.ticker()
            town.start(spec, key)
            assert [one.outcome for one in other.look([HOURLY])[0]] == ["start"]
        return town.start(spec, key)

    assert town.look_at(NOON + 1, ticker=town.ticker(start_while_another_beat_looks)) == []
    assert len(town.keys) == 1


def test_a_beat_that_dies_between_starting_a_run_and_noting_it_starts_no_second_one(town):
    def start_and_die(spec, key):
        town.start(spec, key)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        town.look_at(NOON + 1, ticker=town.ticker(start_and_die))

    assert town.look_at(NOON + 5) == ["start"]
    assert len(town.keys) == 1


def test_the_pause_ends_with_the_next_tick_and_is_never_long(town):
    town.time = NOON - 2
    assert town.ticker().look([HOURLY])[1] == 2
    town.time = NOON - 1000
    assert town.ticker().look([HOURLY])[1] == TickPolicy().look_seconds
    assert town.ticker().look([]) == ([], TickPolicy().look_seconds)


def test_a_schedule_that_is_switched_off_does_not_tick(town):
    assert town.look_at(NOON + 1, replace(HOURLY, enabled=False)) == []


# overlap


def test_skip_leaves_out_ticks_while_the_last_run_is_active(town):
    town.look_at(NOON)

    assert town.look_at(hours(1)) == ["skip"]
    town.end_runs()
    assert town.look_at(hours(1) + 5) == []
    assert town.look_at(hours(2)) == ["start"]
    assert town.standing().skipped == 1


def test_a_run_whose_record_is_gone_stops_nothing(town):
    town.look_at(NOON)
    town.statuses.clear()

    assert town.look_at(hours(1)) == ["start"]


def test_queue_runs_waiting_ticks_in_order_as_soon_as_the_run_before_has_ended(town):
    spec = replace(HOURLY, overlap="queue")
    outcomes = [town.look_at(hours(hour), spec) for hour in range(3)]
    assert outcomes == [["start"], ["queue"], ["queue"]]

    town.end_runs()
    assert town.look_at(hours(2) + 5, spec) == ["start"]
    assert town.look_at(hours(2) + 6, spec) == []
    town.end_runs()
    assert town.look_at(hours(2) + 7, spec) == ["start"]

    assert [key[-9:] for key in town.keys] == ["12:00:00Z", "13:00:00Z", "14:00:00Z"]
    assert town.standing().waiting == ()


def test_a_tick_does_not_overtake_those_that_wait(town):
    spec = replace(HOURLY, overlap="queue")
    for hour in (0, 1):
        town.look_at(hours(hour), spec)
    town.end_runs()

    assert town.look_at(hours(2), spec) == ["start", "queue"]
    assert town.keys[-1].endswith("13:00:00Z")


def test_a_queue_does_not_grow_without_end(town):
    spec = replace(HOURLY, overlap="queue")

    outcomes = [town.look_at(hours(hour), spec) for hour in range(6)]

    assert outcomes[4:] == [["skip"], ["skip"]]
    assert len(town.standing().waiting) == 3


def test_while_ticks_wait_the_beat_looks_more_often(town):
    spec = replace(HOURLY, overlap="queue")
    for hour in (0, 1):
        town.look_at(hours(hour), spec)

    assert town.ticker().look([spec])[1] == TickPolicy().wait_seconds


def test_cancel_stops_the_last_run_and_no_other(town):
    spec = replace(HOURLY, overlap="cancel")
    town.look_at(NOON, spec)
    first = town.standing().run

    assert town.look_at(hours(1), spec) == ["cancel"]
    assert town.cancelled == [first]
    assert town.statuses[town.standing().run] == "running"


def test_a_beat_that_dies_after_cancelling_lets_the_next_one_start_the_run_and_cancel_nothing_new(town):
    spec = replace(HOURLY, overlap="cancel")
    town.look_at(NOON, spec)
    first = town.standing().run
    town.broken = InputError("the workflow is broken")
    assert town.look_at(hours(1), spec) == ["failed"]
    town.broken = None

    assert town.look_at(hours(1) + 5, spec) == ["cancel"]
    assert set(town.cancelled) == {first}


def test_a_run_started_by_hand_counts_as_the_last_one(town):
    town.ledger.note_run("report", "by hand")
    town.statuses["by hand"] = "running"

    assert town.look_at(NOON) == ["skip"]
    assert town.standing().planned is None


# missed ticks


def test_ticks_missed_under_skip_are_not_made_up_for(town):
    town.look_at(NOON)
    town.end_runs()

    assert town.look_at(hours(5) + 600) == ["missed"]
    assert town.look_at(hours(6)) == ["start"]
    assert [key[-9:] for key in town.keys] == ["12:00:00Z", "18:00:00Z"]


def test_run_once_makes_up_for_all_missed_ticks_with_one_run(town):
    spec = replace(HOURLY, missed="run_once")
    town.look_at(NOON, spec)
    town.end_runs()

    assert town.look_at(hours(5) + 600, spec) == ["start"]
    assert town.look_at(hours(5) + 605, spec) == []
    assert [key[-9:] for key in town.keys] == ["12:00:00Z", "17:00:00Z"]


def test_a_tick_that_could_not_start_is_tried_again_until_it_counts_as_missed(town):
    town.broken = InputError("the workflow is broken")
    assert town.look_at(NOON) == ["failed"]
    assert town.look_at(NOON + 50) == ["failed"]

    assert town.look_at(NOON + 61) == ["missed"]
    town.broken = None
    assert town.look_at(NOON + 66) == []


def test_a_broken_schedule_does_not_hold_up_another(town):
    other = replace(HOURLY, name="other")
    town.ticker().look([other])

    def start(spec, key):
        if spec.name == "report":
            raise InputError("broken")
        return town.start(spec, key)

    town.time = NOON + 1
    ticked, _ = town.ticker(start).look([HOURLY, other])

    assert [(one.schedule, one.outcome) for one in ticked] == [("report", "failed"), ("other", "start")]


# edits


def test_an_edited_schedule_does_not_make_up_for_ticks_from_before_the_edit(town):
    town.look_at(NOON)
    town.end_runs()
    edited = replace(HOURLY, timing=parse_cron("10 12 * * *", ZoneInfo("UTC")), missed="run_once")

    assert town.look_at(NOON + 1800, edited) == []
    assert town.standing().timing == "10 12 * * * UTC"


def test_two_beats_with_two_versions_of_a_schedule_lose_no_tick(town):
    edited = replace(HOURLY, timing=parse_interval("2h"))
    for second in range(-20, 0, 4):
        town.look_at(NOON + second, edited)
        town.look_at(NOON + second + 2)

    assert town.look_at(NOON + 1, edited) + town.look_at(NOON + 2) == ["start"]
    assert len(town.keys) == 1
