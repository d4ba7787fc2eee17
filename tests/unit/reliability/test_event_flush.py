"""When do task events leave a worker?"""

from types import SimpleNamespace

import pytest

from cf_workers.reliability.bootsteps import EVENTS_EVERY, EventFlush


class Hub:
    """Remembers timers and turns when told."""

    def __init__(self):
        self.timers = []

    def call_repeatedly(self, seconds, callback):
        self.timers.append((seconds, callback))


class Dispatcher:
    """Counts flushes; fails them on demand."""

    def __init__(self, enabled=True, error=None):
        self.enabled = enabled
        self.on_send_buffered = self.flush
        self.flushed = 0
        self.error = error

    def flush(self):
        self.flushed += 1
        if self.error:
            raise self.error


def consumer_with(dispatcher):
    return SimpleNamespace(event_dispatcher=dispatcher, connection_errors=(ConnectionError,), steps=[])


def step_of(consumer):
    return EventFlush(consumer)


def test_events_leave_by_a_timer_and_not_in_each_turn_of_the_loop():
    dispatcher, hub = Dispatcher(), Hub()
    consumer = consumer_with(dispatcher)

    step_of(consumer).register_with_event_loop(consumer, hub)

    assert dispatcher.on_send_buffered is None
    [(seconds, callback)] = hub.timers
    assert seconds == EVENTS_EVERY
    callback()
    assert dispatcher.flushed == 1


@pytest.mark.parametrize("dispatcher", [None, Dispatcher(enabled=False)])
def test_a_worker_that_sends_no_events_has_no_timer(dispatcher):
    hub = Hub()
    consumer = consumer_with(dispatcher)

    step_of(consumer).register_with_event_loop(consumer, hub)

    assert hub.timers == []


def test_what_tasks_report_while_the_worker_drains_leaves_before_it_ends():
    consumer = consumer_with(Dispatcher())

    step_of(consumer).shutdown(consumer)

    assert consumer.event_dispatcher.flushed == 1


def test_a_worker_ends_although_its_broker_is_away():
    consumer = consumer_with(Dispatcher(error=ConnectionError()))

    step_of(consumer).shutdown(consumer)

    assert consumer.event_dispatcher.flushed == 1
