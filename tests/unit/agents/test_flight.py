"""How is a thread woken that waits for the network?"""

from __future__ import annotations

import socket
import threading
import time

import pytest

from cf_workers.agents.flight import Flight, Watchdog, airborne, current, dial, watchdog
from tests.support.waiting import eventually


def in_an_hour() -> float:
    return time.monotonic() + 3600


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_an_abort_wakes_the_thread_that_reads_the_flights_socket(pair):
    ours, _ = pair
    flight = Flight(in_an_hour())
    got = []

    def read():
        flight.hold(ours)
        got.append(ours.recv(10))

    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: flight._socket is ours, "the reader to begin")
    flight.abort("cancelled")
    reader.join(5)

    assert got == [b""]
    assert flight.aborted == "cancelled"


def test_an_aborted_flight_cannot_begin_to_wait(pair):
    flight = Flight(in_an_hour())
    flight.abort("deadline")

    with pytest.raises(ConnectionAbortedError, match="deadline"):
        flight.hold(pair[0])


def test_a_socket_that_was_released_is_left_alone(pair):
    ours, theirs = pair
    flight = Flight(in_an_hour())
    flight.hold(ours)

    flight.release()
    flight.abort("cancelled")
    theirs.send(b"still open")

    assert ours.recv(20) == b"still open"


def test_the_first_reason_stands():
    flight = Flight(in_an_hour())

    flight.abort("cancelled")
    flight.abort("deadline")

    assert flight.aborted == "cancelled"


def test_a_flight_that_landed_cannot_be_aborted():
    flight = Flight(in_an_hour())
    with airborne(flight):
        assert current() is flight

    flight.abort("deadline")

    assert flight.aborted is None
    assert current() is None


def test_the_watchdog_aborts_each_flight_at_its_own_deadline():
    dog, now = Watchdog(), time.monotonic()
    late, early, never = Flight(now + 1.0), Flight(now + 0.05), Flight(now + 3600)
    for flight in (never, late, early):
        dog.watch(flight)

    eventually(lambda: early.aborted, "the early flight", every=0.002)
    assert late.aborted is None
    eventually(lambda: late.aborted, "the late flight", every=0.002)

    assert time.monotonic() - now >= 1.0
    assert never.aborted is None


def test_the_watchdog_does_not_keep_flights_that_have_landed():
    dog = Watchdog()

    for _ in range(10_000):
        flight = Flight(in_an_hour())
        dog.watch(flight)
        dog.unwatch(flight)

    assert len(dog) < 200


def test_a_process_has_one_watchdog_thread_however_many_calls_there_are():
    for _ in range(20):
        with airborne(Flight(in_an_hour())):
            pass

    names = [thread.name for thread in threading.enumerate() if thread is watchdog()._thread]
    assert names == ["cf-workers-watchdog"]


def test_dialling_tries_the_next_address_when_one_refuses(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as refusing:
        closed = refusing.getsockname()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", closed),
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname()),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with dial("two.addresses.test", 1, 5, (), None) as sock:
            assert sock.getpeername() == listener.getsockname()
            assert sock.gettimeout() is None


def test_dialling_a_port_that_refuses_says_so():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(ConnectionRefusedError):
        dial("127.0.0.1", port, 5, (), None)


def test_a_name_server_that_is_too_slow_counts_as_an_unknown_name(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(5) and [])

    with pytest.raises(socket.gaierror, match="did not answer in time"):
        dial("slow.test", 1, 0.1, (), None)
    released.set()
