"""Every row gets into one batch and its result back, and is paid once, whatever becomes of the batch."""

from dataclasses import replace

import pytest

from cf_workers.batches import NotTakenError, RejectedError, Request, UnclearError
from tests.support.batches import Crash, Lane


def test_rows_that_have_lingered_go_out_together_and_come_back(lane):
    for asks in "abc":
        lane.join(asks)

    assert lane.poll() == {}, "others may come"
    assert lane.poll(after=60) == {"submitted": 3}
    assert {lane.state(asks) for asks in "abc"} == {"packed"}
    assert set(lane.desk.told.values()) == {"in batch msgbatch_1"}

    lane.provider.end()
    assert lane.poll(after=30) == {"landed": 3}
    assert lane.provider.paid == {"a": 1, "b": 1, "c": 1}
    assert lane.desk.woken == {"a mark": 1, "b mark": 1, "c mark": 1}
    assert lane.packs.all() == []


def test_a_batch_that_has_not_ended_is_looked_at_now_and_then(lane):
    lane.join("a")
    lane.poll(after=60)

    for _ in range(10):
        lane.poll(after=10)

    assert lane.provider.calls["retrieve"] == 3


def test_what_a_row_asks_is_sent_under_a_name_of_its_own_each_time(lane):
    lane.join("a")
    lane.provider.fate = lambda _asked, times: "expired" if times == 1 else "succeeded"

    lane.run_dry()

    names = [request.custom_id for batch in lane.provider.batches.values() for request in batch.requests]
    assert len(names) == len(set(names)) == 2
    assert all(len(name) == 64 and set(name) <= set("0123456789abcdef") for name in names)


@pytest.mark.parametrize("ending", ["expired", "canceled", "overloaded"])
def test_a_row_that_came_to_nothing_is_sent_again(lane, ending):
    lane.join("a")
    lane.join("b")
    lane.provider.fate = lambda asked, times: ending if (asked, times) == ("a", 1) else "succeeded"

    lane.run_dry()

    assert lane.provider.asked == {"a": 2, "b": 1}
    assert lane.provider.paid == {"a": 1, "b": 1}
    assert lane.state("a") == "landed"


def test_a_row_that_keeps_coming_to_nothing_is_asked_through_the_ordinary_api(lane):
    lane.join("a")
    lane.provider.fate = lambda _asked, _times: "expired"

    lane.run_dry()

    assert lane.provider.asked == {"a": lane.policy.max_sends}
    assert lane.state("a") == "returned"
    assert lane.desk.woken == {"a mark": 1}


def test_a_row_that_the_provider_rejects_is_not_sent_again(lane):
    lane.join("a")
    lane.provider.fate = lambda _asked, _times: "invalid"

    lane.run_dry()

    row = lane.join("a", start=False).row
    assert (row.state, row.outcome["kind"], row.outcome["error"]["type"]) == (
        "landed",
        "failed",
        "invalid_request_error",
    )
    assert lane.provider.asked == {"a": 1}


def test_a_row_that_is_missing_among_the_results_is_sent_again(lane):
    lane.join("a")
    lane.join("b")
    lane.poll(after=60)
    lane.provider.end()
    batch = lane.provider.batches["msgbatch_1"]
    batch.endings.popitem()

    assert lane.poll(after=30) == {"landed": 1, "again": 1, "submitted": 1}


def test_a_batch_whose_rows_run_out_of_time_is_ended_early(lane):
    rescue_at = lane.time.time() + 600
    lane.join("hurry", rescue_at=rescue_at)
    lane.join("patient")
    lane.poll(after=60)

    lane.poll(after=539)
    assert lane.provider.calls["cancel"] == 0
    lane.poll(after=30)
    assert lane.provider.calls["cancel"] == 1

    lane.provider.end()
    tally = lane.poll(after=15)
    assert (tally["returned"], tally["again"]) == (1, 1)
    assert (lane.state("hurry"), lane.state("patient")) == ("returned", "packed")
    assert lane.provider.paid == {"hurry": 0, "patient": 0}


def test_a_row_that_fits_into_no_batch_is_asked_through_the_ordinary_api(lane):
    lane.join("huge", size=lane.policy.max_bytes)
    lane.join("small")

    assert lane.poll(after=60) == {"returned": 1, "submitted": 1}
    assert lane.state("huge") == "returned"
    assert lane.desk.woken == {"huge mark": 1}


def test_a_row_that_nobody_wants_any_more_is_not_sent(lane):
    lane.join("a")
    lane.join("b")
    lane.desk.gone.add("a mark")

    assert lane.poll(after=60) == {"submitted": 1, "dropped": 1}
    lane.run_dry()

    assert lane.provider.paid == {"b": 1}
    assert lane.state("a") == "none"


def test_a_row_whose_answer_is_known_by_now_is_not_sent_and_its_step_looks_again(lane):
    lane.join("a")
    lane.desk.known.add("a")

    assert lane.poll(after=60) == {"dropped": 1}
    assert lane.desk.woken == {"a mark": 1}
    assert lane.provider.batches == {}


def test_an_answer_that_nobody_wants_when_it_comes_is_written_off_once(lane):
    lane.join("a")
    lane.poll(after=60)
    lane.desk.gone.add("a mark")
    lane.provider.end()

    lane.poll(after=30)
    for _ in range(3):
        lane.poll(after=100)

    assert lane.desk.written_off == ["a"]


def test_an_answer_whose_step_is_stopped_before_it_takes_it_is_written_off(lane):
    lane.join("a")
    lane.poll(after=60)
    lane.provider.end()
    lane.poll(after=30)
    lane.desk.gone.add("a mark")

    lane.poll(after=61)
    lane.poll(after=61)

    assert lane.desk.written_off == ["a"]


def test_a_step_that_did_not_hear_that_its_answer_is_there_is_woken_again(lane):
    lane.join("a")
    lane.poll(after=60)
    lane.provider.end()
    lane.poll(after=30)

    lane.poll(after=61)
    lane.join("a")
    lane.poll(after=61)

    assert lane.desk.woken == {"a mark": 2}
    assert lane.desk.written_off == []


def test_a_refused_submission_is_made_again_when_the_provider_says_so(lane):
    lane.join("a")
    lane.provider.will(NotTakenError("rate limit", retry_in=100))

    lane.poll(after=60)
    lane.poll(after=99)
    assert lane.provider.calls["create"] == 1
    assert lane.poll(after=1) == {"submitted": 1}


def test_rows_of_a_rejected_batch_are_asked_through_the_ordinary_api(lane):
    lane.join("a")
    lane.provider.will(RejectedError("too large"))

    assert lane.poll(after=60) == {"returned": 1}
    assert lane.packs.all() == []


def test_a_batch_whose_making_was_not_heard_of_is_recognised_by_its_results(lane):
    lane.join("a")
    lane.join("b")
    lane.provider.will("lost_reply")

    assert lane.poll(after=60) == {"held": 2}
    for _ in range(20):
        assert lane.poll(after=100) == {"held": 2}, "it is under way, and may be ours"
    lane.provider.end()

    assert lane.poll(after=30) == {"landed": 2}
    assert lane.provider.calls["create"] == 1
    assert lane.provider.paid == {"a": 1, "b": 1}


def test_a_batch_that_was_never_made_is_submitted_again_once_that_is_certain(lane):
    lane.join("a")
    lane.provider.will(UnclearError("no answer"))

    lane.poll(after=60)
    lane.poll(after=300)
    lane.poll(after=59)
    assert lane.provider.calls["create"] == 1, "the first submission may still arrive"

    lane.poll(after=31)
    lane.provider.end()
    lane.poll(after=30)
    assert lane.provider.paid == {"a": 1}


def test_a_stranger_of_the_same_size_is_waited_for_and_then_left_alone(lane):
    lane.join("a")
    lane.provider.will(UnclearError("no answer"))
    lane.poll(after=60)
    stranger = lane.provider.add([Request("f" * 64, {"asks": "theirs"})])

    assert lane.poll(after=1000) == {"held": 1}
    lane.provider.end()
    lane.poll(after=30)
    lane.run_dry()

    assert lane.provider.paid == {"a": 1, "theirs": 1}
    assert lane.packs.unknown([stranger.id]) == []


@pytest.mark.parametrize(("rows", "age"), [(2, 0), (1, 3600)])
def test_batches_of_another_size_or_time_hold_nothing_up(lane, rows, age):
    lane.provider.add([Request(f"{n:064}", {"asks": "theirs"}) for n in range(rows)])
    lane.time.advance(age)
    lane.join("a")
    lane.provider.will(UnclearError("no answer"))

    lane.poll(after=60)
    tally = lane.poll(after=361)

    assert tally == {"submitted": 1}


def test_two_batches_of_which_nothing_was_heard_are_both_recognised(lane):
    lane.join("a", model="haiku")
    lane.join("b", model="opus")
    lane.provider.will("lost_reply", "lost_reply")

    lane.poll(after=60)
    lane.provider.end()
    lane.poll(after=30)
    lane.run_dry()

    assert lane.provider.paid == {"a": 1, "b": 1}
    assert lane.provider.calls["create"] == 2


def test_a_batch_that_cannot_be_seen_is_not_sent_again_while_it_may_live(lane):
    lane.join("a")
    lane.poll(after=60)
    del lane.provider.batches["msgbatch_1"]

    lane.poll(after=3600)
    assert lane.state("a") == "packed"

    lane.poll(after=25 * 3600)
    assert lane.provider.calls["create"] == 2


def test_rows_beyond_what_may_be_queued_wait_for_room(monkeypatch, lane):
    small = Lane(lane.server, lane.time, replace(lane.policy, max_queued_rows=3, max_rows=2))
    for asks in "abcd":
        small.join(asks)

    assert small.poll(after=60) == {"submitted": 2}
    small.provider.end()
    assert small.poll(after=30) == {"landed": 2, "submitted": 2}


def test_a_pack_that_cannot_be_dealt_with_does_not_stop_the_others(lane):
    lane.join("a", model="haiku")
    lane.join("b", model="opus")
    lane.provider.will(ValueError("what is this?"))

    tally = lane.poll(after=60)

    assert (tally["failed_packs"], tally["submitted"]) == (1, 1)
    lane.run_dry()
    assert lane.provider.paid == {"a": 1, "b": 1}


def test_who_has_lost_the_right_to_poll_stops(lane):
    lane.join("a")
    lane.time.advance(60)

    assert lane.courier.poll(lambda: False) == {}
    assert lane.provider.batches == {}


def test_who_was_overtaken_while_submitting_cancels_what_it_made(lane):
    """A process stood still for longer than its submission may take; meanwhile another made the batch."""
    lane.join("a")
    slow = lane.courier
    create = lane.provider.create

    def create_late(requests):
        lane.provider.create = create
        lane.restart()
        lane.poll(after=361)  # finds none, and makes one
        return create(requests)

    lane.provider.create = create_late
    lane.time.advance(60)
    slow.poll()
    lane.provider.end()
    lane.run_dry()

    assert [batch.cancelled for batch in lane.provider.batches.values()] == [False, True]
    assert lane.provider.paid["a"] == 1


def test_death_right_after_a_batch_was_made_neither_loses_nor_doubles_a_row(lane):
    lane.join("a")
    lane.provider.will("crash")
    lane.time.advance(60)
    with pytest.raises(Crash):
        lane.courier.poll()

    lane.restart()
    lane.run_dry()

    assert lane.provider.paid == {"a": 1}
    assert lane.provider.calls["create"] == 1


def story(lane: Lane, dies_before: int | None) -> int:
    """Two models, an expired row, a refused one, one that nobody wants; whoever works dies once."""
    for number in range(4):
        lane.join(f"h{number}", model="haiku")
    lane.join("o", model="opus")
    lane.join("shared", mark="first", model="opus")
    lane.join("shared", mark="second", model="opus")
    lane.provider.fate = lambda asked, times: "expired" if (asked, times) == ("h1", 1) else "succeeded"
    client = lane.restart(dies_before)
    try:
        for _ in range(4):
            lane.poll(after=61)
            lane.provider.end()
    except Crash:
        pass
    return client.sent


def test_wherever_the_process_dies_each_row_is_paid_once_and_none_is_lost(lane):
    """It dies before its first command, before its second, and so on, each time in a story of its own."""
    commands = story(lane, None)
    assert commands > 50
    for dies_before in range(commands):
        lane.server.flushall()
        mortal = Lane(lane.server, lane.time)

        story(mortal, dies_before)
        mortal.restart()
        mortal.run_dry()

        where = f"it died before command {dies_before}"
        expected = dict.fromkeys(["h0", "h1", "h2", "h3", "o", "shared"], 1)
        assert mortal.provider.paid == expected, where
        assert all(mortal.state(f"h{number}") == "landed" for number in range(4)), where
        asked = {"h0 mark", "h1 mark", "h2 mark", "h3 mark", "o mark", "first", "second"}
        assert asked <= set(mortal.desk.woken), where
        assert mortal.desk.written_off == [], where
