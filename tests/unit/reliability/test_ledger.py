from __future__ import annotations

from cf_workers.reliability.ledger import Ledger


def test_a_message_is_kept_from_the_pool_to_its_acknowledgement():
    ledger = Ledger()
    ledger.hold("a")
    assert ledger.kept() == {"a"}

    ledger.settle("a")

    assert ledger.kept() == set()


def test_an_acknowledgement_that_could_not_be_sent_is_kept_and_owed():
    ledger = Ledger()
    ledger.hold("a")

    ledger.owe("a")

    assert ledger.kept() == {"a"}
    assert ledger.owed() == {"a"}
    ledger.settle("a")
    assert ledger.owed() == set()


def test_a_message_that_could_not_be_given_back_is_not_kept_but_remembered():
    ledger = Ledger()
    ledger.hold("a")

    ledger.leave(["a", "b"])

    assert ledger.kept() == set()
    assert set(ledger.left()) == {"a", "b"}
    ledger.settle("a")
    assert set(ledger.left()) == {"b"}


def test_after_a_lost_connection_nothing_is_swept_until_others_had_time_to_return():
    ledger = Ledger()
    assert ledger.may_sweep(pause=60)

    ledger.connection_lost()

    assert not ledger.may_sweep(pause=60)
    assert not ledger.may_sweep(pause=0), "the pause was set at the first question"


def test_a_pause_ends():
    ledger = Ledger()
    ledger.connection_lost()

    assert ledger.may_sweep(pause=0)


def test_a_message_that_could_not_be_saved_is_remembered():
    ledger = Ledger()

    ledger.rescue("a", "the message")

    assert ledger.rescued() == {"a": "the message"}
    ledger.settle("a")
    assert ledger.rescued() == {}
