from __future__ import annotations

import gc
import threading

import pytest
from celery.exceptions import Ignore, Reject

from cf_workers.reliability import Reason, surrender, token_for


def test_a_token_is_clear_until_somebody_asks():
    token = token_for("a")

    assert not token.is_set
    assert token.reason is None
    assert not token.wait(0)


def test_everybody_who_asks_for_a_task_gets_the_same_token():
    held = token_for("b")

    token_for("b").cancel(Reason.REVOKED)

    assert held.is_set


def test_a_token_that_nobody_holds_is_forgotten():
    token_for("c").cancel(Reason.REVOKED)
    gc.collect()

    assert not token_for("c").is_set


def test_the_first_reason_stays():
    token = token_for("d")

    assert token.cancel(Reason.REVOKED)
    assert not token.cancel(Reason.DRAINING)
    assert token.reason is Reason.REVOKED


def test_a_callback_runs_once_when_the_task_is_asked_to_stop():
    token = token_for("e")
    calls = []
    token.on_cancel(lambda: calls.append(token.reason))

    token.cancel(Reason.DRAINING)
    token.cancel(Reason.DRAINING)

    assert calls == [Reason.DRAINING]


def test_a_callback_that_comes_too_late_runs_at_once():
    token = token_for("f")
    token.cancel(Reason.REVOKED)
    calls = []

    token.on_cancel(lambda: calls.append("late"))

    assert calls == ["late"]


def test_a_callback_can_be_taken_back():
    token = token_for("g")
    calls = []
    undo = token.on_cancel(lambda: calls.append("called"))

    undo()
    token.cancel(Reason.REVOKED)

    assert calls == []


def test_a_broken_callback_does_not_keep_the_others_from_running(caplog):
    token = token_for("h")
    calls = []
    token.on_cancel(lambda: 1 / 0)
    token.on_cancel(lambda: calls.append("called"))

    token.cancel(Reason.REVOKED)

    assert calls == ["called"]
    assert "cancel callback failed task=h" in caplog.text


def test_cancelling_wakes_who_waits():
    token = token_for("i")
    woken = []
    waiter = threading.Thread(target=lambda: woken.append(token.wait(10)))
    waiter.start()

    token.cancel(Reason.REVOKED)
    waiter.join(5)

    assert woken == [True]


@pytest.mark.parametrize(
    ("reason", "kind", "requeue"), [(Reason.REVOKED, Ignore, None), (Reason.DRAINING, Reject, True)]
)
def test_a_task_gives_way_so_that_only_a_drained_one_runs_again(reason, kind, requeue):
    token = token_for(f"j-{reason}")
    token.cancel(reason)

    error = surrender(token)

    assert isinstance(error, kind)
    assert getattr(error, "requeue", None) == requeue
