"""What becomes of a message batch?"""

import pytest

from cf_workers.simulator.batches import Batch, BatchStore, page
from cf_workers.simulator.problem import ApiProblem
from tests.unit.simulator.clock import ScriptedClock


def rows(count: int) -> dict[str, object]:
    return {"requests": [{"custom_id": f"row-{n}", "params": {}} for n in range(count)]}


def made(store: BatchStore, count: int = 10, seconds: float = 60.0, name: str = "b1") -> Batch:
    return store.create(name, "key", rows(count), seconds)


def test_a_batch_ends_after_its_time():
    clock = ScriptedClock()
    batch = made(BatchStore(clock))

    assert batch.status(clock.now()) == "in_progress"
    clock.sleep(60)
    assert batch.status(clock.now()) == "ended"
    assert batch.processed() == 10


def test_a_cancelled_batch_ends_with_the_rows_it_had_reached():
    clock = ScriptedClock()
    batch = made(BatchStore(clock))
    clock.sleep(30)

    batch.cancel(clock.now())

    assert batch.status(clock.now()) == "canceling"
    clock.sleep(7)
    assert batch.status(clock.now()) == "ended"
    assert batch.processed() == 5


def test_a_batch_that_takes_no_time_cannot_be_cancelled_any_more():
    clock = ScriptedClock()
    batch = made(BatchStore(clock), seconds=0)

    batch.cancel(clock.now())

    assert batch.cancelled_at is None


def test_a_batch_belongs_to_its_key():
    store = BatchStore(ScriptedClock())
    made(store)

    with pytest.raises(ApiProblem) as caught:
        store.get("b1", "other")

    assert caught.value.status == 404
    assert store.of("other") == []


def test_only_an_ended_batch_can_be_deleted():
    clock = ScriptedClock()
    store = BatchStore(clock)
    batch = made(store)

    with pytest.raises(ApiProblem):
        store.delete(batch)
    clock.sleep(60)
    store.delete(batch)
    assert store.of("key") == []


@pytest.mark.parametrize(
    "requests",
    [
        None,
        [],
        ["row"],
        [{"custom_id": "a b", "params": {}}],
        [{"custom_id": "x" * 65, "params": {}}],
        [{"custom_id": "a", "params": {}}, {"custom_id": "a", "params": {}}],
        [{"custom_id": "a"}],
    ],
    ids=["missing", "empty", "no object", "bad id", "long id", "repeated id", "no params"],
)
def test_rows_that_the_api_refuses_are_refused(requests):
    with pytest.raises(ApiProblem) as caught:
        BatchStore(ScriptedClock()).create("b", "key", {"requests": requests}, 1)

    assert caught.value.status == 400


def test_a_list_is_cut_into_pages_in_both_directions():
    items = [{"id": str(n)} for n in range(5)]

    assert [item["id"] for item in page(items, "", "", "2", 20)["data"]] == ["0", "1"]
    last = page(items, "3", "", "2", 20)
    assert ([item["id"] for item in last["data"]], last["has_more"]) == (["4"], False)
    back = page(items, "", "3", "2", 20)
    assert ([item["id"] for item in back["data"]], back["has_more"]) == (["1", "2"], True)
    assert page([], "", "", "", 20) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("limit", ["0", "1001", "ten", "-1"])
def test_a_page_size_out_of_range_is_refused(limit):
    with pytest.raises(ApiProblem):
        page([], "", "", limit, 20)
