"""How does one thread tell another to stop?"""

from __future__ import annotations

import threading

from cf_workers.agents.cancel import CancelToken


def test_a_fresh_token_is_not_cancelled_and_has_no_reason():
    token = CancelToken()

    assert not token.cancelled
    assert token.reason is None


def test_the_first_reason_stands():
    token = CancelToken()

    token.cancel("the user asked for it")
    token.cancel("too late")

    assert token.cancelled
    assert token.reason == "the user asked for it"


def test_a_callback_runs_once_however_often_the_token_is_cancelled():
    token, calls = CancelToken(), []
    token.on_cancel(lambda: calls.append("called"))

    token.cancel("one")
    token.cancel("two")

    assert calls == ["called"]


def test_a_callback_registered_after_the_fact_runs_at_once():
    token, calls = CancelToken(), []
    token.cancel("done")

    token.on_cancel(lambda: calls.append(token.reason))

    assert calls == ["done"]


def test_a_callback_that_was_taken_off_does_not_run():
    token, calls = CancelToken(), []
    take_off = token.on_cancel(lambda: calls.append("called"))

    take_off()
    token.cancel("done")
    take_off()

    assert calls == []


def test_of_many_threads_that_cancel_at_once_one_wins_and_the_callback_runs_once():
    token, calls = CancelToken(), []
    token.on_cancel(lambda: calls.append("called"))
    start = threading.Barrier(8)

    def cancel(number: int) -> None:
        start.wait(timeout=5)
        token.cancel(f"thread {number}")

    threads = [threading.Thread(target=cancel, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=5)

    assert calls == ["called"]
    assert token.reason in {f"thread {number}" for number in range(8)}
