"""Which rows make a batch, and when? Within the limits of the API, the oldest first, one model a batch."""

from hypothesis import given
from hypothesis import strategies as st

from cf_workers.batches import API_MAX_BYTES, API_MAX_ROWS, BatchPolicy, Candidate, pack
from cf_workers.batches.packer import ROW_OVERHEAD_BYTES

NOW = 1_000_000.0
POLICY = BatchPolicy(linger_seconds=60, max_rows=3, max_bytes=10_000)


def row(id, *, model="haiku", size=100, age=60.0):
    return Candidate(str(id), model, size, NOW - age)


def packed(*rows, room=1000, policy=POLICY):
    return [[one.id for one in one_pack] for one_pack in pack(rows, now=NOW, room=room, policy=policy).packs]


def test_a_batch_that_is_full_is_made_at_once():
    assert packed(row(1, age=1), row(2, age=2), row(3, age=0)) == [["2", "1", "3"]]


def test_a_batch_that_is_not_full_waits_until_its_oldest_row_has_lingered():
    assert packed(row(1, age=59), row(2, age=1)) == []
    assert packed(row(1, age=60), row(2, age=1)) == [["1", "2"]]


def test_a_batch_is_for_one_model():
    assert packed(row(1), row(2, model="opus", age=70)) == [["2"], ["1"]]


def test_a_batch_is_full_when_the_next_row_would_be_too_much():
    size = 5_000 - ROW_OVERHEAD_BYTES

    assert packed(row(1, size=size, age=3), row(2, size=size, age=2), row(3, size=size, age=1)) == [
        ["1", "2"]
    ]


def test_a_row_that_fits_into_no_batch_is_set_aside():
    found = pack([row(1, size=10_000), row(2)], now=NOW, room=10, policy=POLICY)

    assert [one.id for one in found.oversize] == ["1"]
    assert [[one.id for one in rows] for rows in found.packs] == [["2"]]


def test_no_more_rows_are_submitted_than_there_is_room_for():
    rows = [row(n, age=100 - n) for n in range(5)]

    assert packed(*rows, room=4) == [["0", "1", "2"]]
    assert packed(*rows, room=2) == [["3", "4"]], "a smaller batch goes ahead of one there is no room for"


def test_the_defaults_keep_within_the_api_s_limits():
    assert BatchPolicy().max_rows <= API_MAX_ROWS
    assert BatchPolicy().max_bytes <= API_MAX_BYTES


@given(
    st.lists(st.tuples(st.sampled_from("ho"), st.integers(1, 12_000), st.integers(0, 120)), max_size=40),
    st.integers(0, 50),
)
def test_whatever_waits_no_batch_breaks_a_limit_and_no_row_is_in_two(drawn, room):
    rows = [row(n, model=model, size=size, age=age) for n, (model, size, age) in enumerate(drawn)]

    found = pack(rows, now=NOW, room=room, policy=POLICY)

    flat = [one.id for one_pack in found.packs for one in one_pack]
    assert len(flat) == len(set(flat)) <= room
    for one_pack in found.packs:
        assert len({one.model for one in one_pack}) == 1
        assert 1 <= len(one_pack) <= POLICY.max_rows
        assert sum(one.size + ROW_OVERHEAD_BYTES for one in one_pack) <= POLICY.max_bytes
