"""What does the stand-in remember of its requests?"""

from cf_workers.simulator.journal import Journal


def test_requests_are_numbered_in_order_and_counted_while_under_way():
    journal = Journal(10, 1000)
    first = journal.open(1.0, "POST", "/v1/messages", b"{}")
    second = journal.open(2.0, "POST", "/v1/messages", b"{}")
    first.outcome, first.usage = "200", {"input_tokens": 3, "service_tier": "standard"}

    journal.close(first, 3.0)

    stats = journal.stats()
    assert (first.number, second.number) == (1, 2)
    assert (stats.requests, stats.in_flight, stats.peak_in_flight) == (2, 1, 2)
    assert (stats.by_outcome, stats.tokens) == ({"200": 1}, {"input_tokens": 3})


def test_a_full_log_drops_the_oldest_and_says_how_many():
    journal = Journal(3, 1000)

    for _ in range(5):
        journal.open(1.0, "GET", "/v1/models", b"")

    assert [record.number for record in journal.records()] == [3, 4, 5]
    assert journal.stats().log_dropped == 2
    assert journal.stats().requests == 5


def test_bodies_beyond_the_limit_are_forgotten_oldest_first():
    journal = Journal(10, 8)

    for body in (b"aaaa", b"bbbb", b"cccc"):
        journal.open(1.0, "POST", "/v1/messages", body)

    assert [record.body for record in journal.records()] == [None, "bbbb", "cccc"]
    assert journal.stats().bodies_dropped == 1
