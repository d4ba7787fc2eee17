"""Who waits for which row, and who pays for it?"""

from tests.support.batches import POLICY, Lane


def landed(lane: Lane) -> None:
    lane.poll(after=60)
    lane.provider.end()
    lane.poll(after=30)


def test_a_step_that_asks_again_finds_its_row(lane):
    first = lane.join("a")
    again = lane.join("a")

    assert first.row == again.row
    assert first.row.state == "waiting"
    assert lane.poll(after=60) == {"submitted": 1}


def test_equal_calls_share_a_row_and_one_of_them_pays(lane):
    one = lane.join("a", mark="one").row
    two = lane.join("a", mark="two").row
    landed(lane)

    assert one.id == two.id
    assert lane.provider.paid == {"a": 1}
    assert [lane.join("a", mark=mark).pays for mark in ("two", "one", "two", "one")] == [True, False] * 2


def test_who_comes_after_the_answer_gets_a_row_of_its_own(lane):
    """What it found in the response cache was not this answer: that has been taken out, or never got in."""
    lane.join("a", mark="one")
    landed(lane)

    assert lane.join("a", mark="late").row.state == "waiting"
    assert lane.join("a", mark="one").row.state == "landed"


def test_who_comes_while_the_row_is_in_a_batch_shares_it(lane):
    lane.join("a", mark="one")
    lane.poll(after=60)

    assert lane.join("a", mark="two").row.state == "packed"
    lane.provider.end()
    lane.poll(after=30)
    assert lane.desk.woken == {"one": 1, "two": 1}


def test_the_shortest_patience_counts_while_a_row_waits(lane):
    lane.join("a", mark="one", rescue_at=500.0)
    lane.join("a", mark="two", rescue_at=100.0)
    lane.join("a", mark="three", rescue_at=900.0)

    assert lane.join("a", mark="four").row.rescue_at == 100.0


def test_a_step_that_leaves_goes_by_itself_from_then_on(lane):
    row = lane.join("a").row

    assert lane.rows.leave(row, "a mark")
    assert lane.join("a").alone
    assert not lane.rows.waits("a mark")
    assert lane.poll(after=60) == {}, "nobody wants the row"


def test_a_row_that_others_wait_for_stays_when_one_leaves(lane):
    row = lane.join("a", mark="one").row
    lane.join("a", mark="two")

    lane.rows.leave(row, "one")

    assert lane.poll(after=60) == {"submitted": 1}
    assert lane.join("a", mark="two").row.state == "packed"


def test_a_step_cannot_leave_a_row_whose_answer_is_there(lane):
    row = lane.join("a").row
    landed(lane)

    assert not lane.rows.leave(row, "a mark")
    assert lane.join("a").pays


def test_asking_without_starting_makes_no_row(lane):
    assert lane.join("a", start=False).row is None
    assert lane.poll(after=60) == {}


def test_a_step_waits_until_its_row_has_landed(lane):
    lane.join("a")
    assert lane.rows.waits("a mark")
    lane.poll(after=60)
    assert lane.rows.waits("a mark")
    lane.provider.end()
    lane.poll(after=30)
    assert not lane.rows.waits("a mark")


def test_a_row_that_left_the_store_is_made_anew(lane):
    row = lane.join("a", mark="one").row
    lane.server.delete(lane.keys.batch_row(row.id))

    assert lane.join("a", mark="one").row.id != row.id
    assert lane.join("a", mark="two").row.state == "waiting"


def test_one_process_polls_at_a_time_and_a_dead_one_is_followed(lane):
    hold = lane.packs.hold

    assert hold("one", lease_seconds=8, take=True)
    assert not hold("two", lease_seconds=8, take=True)
    lane.time.advance(5)
    assert hold("one", lease_seconds=8, take=False)
    lane.time.advance(5)
    assert not hold("two", lease_seconds=8, take=True)
    lane.time.advance(4)
    assert hold("two", lease_seconds=8, take=True)
    assert not hold("one", lease_seconds=8, take=False)
    lane.packs.let_go("one")
    assert hold("two", lease_seconds=8, take=False)


def test_there_is_work_when_rows_have_lingered_a_batch_is_due_or_an_answer_lies_about(lane):
    def due() -> bool:
        return lane.packs.work_is_due(
            lane.time.time(), linger_seconds=POLICY.linger_seconds, max_rows=POLICY.max_rows
        )

    assert not due()
    lane.join("a")
    assert not due()
    lane.time.advance(60)
    assert due()
    lane.poll()
    assert not due()
    lane.time.advance(30)
    assert due()
    lane.provider.end()
    lane.poll()
    assert not due()
    lane.time.advance(61)
    assert due()
