"""A worker keeps what it has while its server is away, for as long as that may take."""

import pytest
import redis

from cf_workers.tasks.outage import OutagePolicy, Outlast


class Clock:
    """Moves on while somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class Server:
    """Fails so many times, then answers."""

    def __init__(self, *errors):
        self._errors = list(errors)
        self.asked = 0

    def __call__(self):
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


@pytest.fixture
def clock():
    return Clock()


def outlast(clock, **policy):
    return Outlast(OutagePolicy(**policy), clock=lambda: clock.now, sleep=clock.sleep)


@pytest.mark.parametrize(
    "error", [redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError, redis.ReadOnlyError]
)
def test_what_fails_because_the_server_is_away_is_done_when_it_is_back(clock, error):
    server = Server(error("away"), error("away"))

    assert outlast(clock)("commit", server) == "answer"
    assert server.asked == 3


def test_the_waits_grow_and_are_bounded(clock):
    outlast(clock, first_wait_seconds=0.5, longest_wait_seconds=2)(
        "commit", Server(*[redis.ConnectionError()] * 5)
    )

    assert clock.slept == [0.5, 1, 2, 2, 2]


def test_an_outage_that_lasts_too_long_is_an_error(clock):
    with pytest.raises(redis.ConnectionError):
        outlast(clock, longest_seconds=30)("commit", Server(*[redis.ConnectionError()] * 1000))

    assert 28 <= clock.now <= 30


def test_an_answer_that_says_no_is_not_asked_for_again(clock):
    server = Server(redis.ResponseError("WRONGTYPE"))

    with pytest.raises(redis.ResponseError):
        outlast(clock)("commit", server)

    assert server.asked == 1


def test_an_outage_is_told_once(clock, caplog):
    outlast(clock)("commit", Server(*[redis.ConnectionError("redis://:secret@host")] * 5))

    (record,) = caplog.records
    assert "waiting_to=commit" in record.getMessage()
    assert "secret" not in record.getMessage()
