import pytest

from tests.support import eventually


def test_waiting_returns_the_first_true_value() -> None:
    answers = iter([0, None, "", "there"])

    assert eventually(lambda: next(answers), "an answer", every=0) == "there"


def test_waiting_fails_with_what_was_waited_for_and_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.01 s for the moon; last seen: \[\]"):
        eventually(list, "the moon", timeout=0.01, every=0)
