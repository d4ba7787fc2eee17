"""Whose slot nobody wants waits in it for another call's first word; whose slot is wanted parks."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from cf_workers._redis import Keys
from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, Usage
from cf_workers.answers import Answer
from cf_workers.errors import CancelledError, OverloadedError
from cf_workers.prefixes import Prefixes, WarmingPolicy
from cf_workers.tasks import lobby as lobbies
from cf_workers.tasks.answering import Caller, NotNow
from cf_workers.tasks.asking import maybe_lost
from cf_workers.tasks.known_prompts import KnownPrompts
from cf_workers.tasks.lobby import Lobby
from cf_workers.tasks.warmed import Warmed
from tests.support import eventually

LONG = "x" * 40_000
WRITTEN = Usage(input_tokens=10, output_tokens=5, cache_creation_input_tokens=10_000)
READ = Usage(input_tokens=10, output_tokens=5, cache_read_input_tokens=10_000)
NEITHER = Usage(input_tokens=10_010, output_tokens=5)
FOREVER = 60.0


class Provider:
    """Replies to calls that go first when it is let; replies to the others at once."""

    def __init__(self):
        self.first_word, self.last_word = threading.Event(), threading.Event()
        self.failure = None
        self.wrote = WRITTEN
        self.led, self.followed = [], []

    def ask(self, call, caller, token):
        if caller.began is None:
            self.followed.append(caller.waiter)
            return self._reply(call, READ)
        failure, self.failure = self.failure, None
        self.led.append(caller.waiter)
        self.first_word.wait(FOREVER)
        if failure is not None:
            self.first_word.clear()
            raise failure
        caller.began()
        self.last_word.wait(FOREVER)
        return self._reply(call, self.wrote)

    def _reply(self, call, usage):
        return Answer(AgentReply("fine", call.model, usage, "end_turn", request_id="r"), 0.1)

    def speak(self):
        self.first_word.set()
        self.last_word.set()


class Process:
    """A worker with so many slots that nobody else wants."""

    def __init__(self, provider, prefixes):
        self.slots, self.taken = 100, 0
        self.woken = []
        self.lobby = Lobby(prefixes, lambda: self.slots - self.taken)
        self._warmed = Warmed(
            provider, prefixes, self.lobby, KnownPrompts(), credential="c", wake=self.woken.extend
        )
        self._lock = threading.Lock()

    @property
    def awaited(self):
        """The one prefix that calls wait for."""
        (prefix,) = set(self.lobby._seats.values())
        return prefix

    def ask(self, name, token=None):
        with self._lock:
            self.taken += 1
        try:
            agent = AgentDefinition(name="writer", text=LONG)
            call = AgentCall(
                agent=agent, task=name, model="claude-sonnet-5", max_tokens=10, timeout_seconds=5
            )
            caller = Caller(waiter=f"r\t{name}", holder=f"r\t{name}\t1")
            return self._warmed.ask(call, caller, token or CancelToken())
        finally:
            with self._lock:
                self.taken -= 1


class Scene:
    """Processes, and calls that are made in them."""

    def __init__(self, client, provider, pool):
        self._client, self.provider, self._pool = client, provider, pool
        self.prefixes = None

    def process(self, prefixes=Prefixes, **policy):
        patient = {"longest_wait_seconds": FOREVER, "longest_seat_seconds": FOREVER, **policy}
        self.prefixes = prefixes(self._client, Keys(), WarmingPolicy(**patient))
        return Process(self.provider, self.prefixes)

    def lead(self, process, name="first"):
        """A call that goes first, and has got no word yet."""
        leading = self._pool.submit(process.ask, name)
        eventually(lambda: self.provider.led, "a call to go first")
        return leading

    def follow(self, process, *names, token=None):
        """Calls that come one after the other and wait, each in its slot."""
        following = []
        for name in names:
            seats = process.lobby.seated + 1
            following.append(self._pool.submit(process.ask, name, token))
            eventually(lambda: process.lobby.seated == seats, f"{name} to wait in its slot")  # noqa: B023
        return following

    def parked(self):
        (key,) = self._client.keys("cfw:prefix:*:waiters") or [None]
        return [one.decode() for one in self._client.zrange(key, 0, -1)] if key else []


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def scene(fake_redis, provider):
    with ThreadPoolExecutor(20) as pool:
        yield Scene(fake_redis, provider, pool)
        provider.speak()


@pytest.mark.parametrize("same", [True, False], ids=["in one process", "in two processes"])
def test_who_waits_in_its_slot_goes_on_with_the_first_word(scene, provider, same):
    process = scene.process()
    other = process if same else scene.process()
    leading = scene.lead(process)
    following = scene.follow(other, "b", "c", "d")
    assert provider.followed == []

    provider.first_word.set()

    assert [one.result(FOREVER).reply.output for one in following] == ["fine"] * 3
    assert not leading.done(), "they have waited for its first word only"
    assert (provider.led, sorted(provider.followed)) == (["r\tfirst"], ["r\tb", "r\tc", "r\td"])
    assert process.woken == other.woken == []


def test_who_waits_in_its_slot_is_not_on_the_list_of_the_parked(scene):
    process = scene.process()
    scene.lead(process)

    scene.follow(process, "b")

    assert scene.parked() == []


def test_a_call_whose_slot_is_wanted_parks(scene, provider):
    process = scene.process()
    scene.lead(process)
    process.slots = 1

    with pytest.raises(NotNow) as caught:
        process.ask("b")

    assert caught.value.waits()
    assert scene.parked() == ["r\tb"]


def test_when_slots_become_scarce_as_many_park_as_are_missing_the_last_first(scene, provider, monkeypatch):
    monkeypatch.setattr(lobbies, "_LEAVING_SECONDS", FOREVER)
    process = scene.process()
    scene.lead(process)
    following = scene.follow(process, "b", "c", "d", "e")

    process.slots = 3

    for one in following[2:]:
        with pytest.raises(NotNow):
            one.result(FOREVER)
    assert sorted(scene.parked()) == ["r\td", "r\te"]
    assert process.lobby.seated == 2
    provider.first_word.set()
    assert [one.result(FOREVER).reply.output for one in following[:2]] == ["fine"] * 2
    eventually(lambda: sorted(process.woken) == ["r\td", "r\te"], "the parked to be woken")


def test_slots_that_are_missing_again_are_given_back_again(scene, monkeypatch):
    monkeypatch.setattr(lobbies, "_LEAVING_SECONDS", 0.0)
    process = scene.process()
    scene.lead(process)
    following = scene.follow(process, "b", "c")

    process.slots = -1000

    for one in following:
        with pytest.raises(NotNow):
            one.result(FOREVER)


@pytest.mark.parametrize("same", [True, False], ids=["in one process", "in two processes"])
def test_when_the_first_call_fails_exactly_one_takes_over(scene, provider, same):
    process = scene.process()
    other = process if same else scene.process()
    provider.failure = OverloadedError("529")
    leading = scene.lead(process)
    following = scene.follow(other, "b", "c", "d")

    provider.first_word.set()

    with pytest.raises(OverloadedError):
        leading.result(FOREVER)
    eventually(lambda: len(provider.led) == 2, "another one to go first")
    eventually(lambda: other.lobby.seated == 2, "the others to go on waiting")
    assert provider.followed == []
    provider.speak()
    assert [one.result(FOREVER).reply.output for one in following] == ["fine"] * 3
    assert len(provider.led) == 2
    assert len(provider.followed) == 2


def test_a_call_that_is_cancelled_while_it_waits_has_cost_nothing(scene, provider):
    process = scene.process()
    scene.lead(process)
    token = CancelToken()
    (waiting,) = scene.follow(process, "b", token=token)
    (other,) = scene.follow(process, "c")

    token.cancel("revoked")

    with pytest.raises(CancelledError, match="revoked") as caught:
        waiting.result(FOREVER)
    assert maybe_lost(caught.value) == 0
    provider.speak()
    assert other.result(FOREVER).reply.output == "fine"
    assert provider.followed == ["r\tc"]


def test_nobody_waits_in_a_slot_for_ever(scene):
    process = scene.process()
    scene.lead(process)
    impatient = scene.process(longest_seat_seconds=0.05)

    with pytest.raises(NotNow):
        impatient.ask("b")

    assert scene.parked() == ["r\tb"]


def test_who_has_waited_for_as_long_as_a_first_word_may_take_goes_first_itself(scene, provider):
    process = scene.process(longest_wait_seconds=0.2)
    scene.lead(process)
    other = scene._pool.submit(process.ask, "b")

    eventually(lambda: len(provider.led) == 2, "the other to go first")

    provider.speak()
    assert other.result(FOREVER).reply.output == "fine"


def test_a_prefix_that_the_provider_does_not_keep_holds_nobody_up_in_its_slot(scene, provider):
    process, other = scene.process(), scene.process()
    scene.lead(process)
    following = scene.follow(other, "b", "c")

    scene.prefixes.not_kept(other.awaited)

    assert [one.result(FOREVER).reply.output for one in following] == ["fine"] * 2
    assert provider.led == ["r\tfirst"]


def test_all_who_wait_in_a_process_share_one_watch(scene, provider):
    watches = set()

    class Watched(Prefixes):
        def look(self, prefixes):
            watches.add(threading.get_ident())
            return super().look(prefixes)

    process = scene.process(Watched)
    scene.lead(process)
    following = scene.follow(process, *"bcdefghij")

    eventually(lambda: watches, "somebody to look")
    provider.speak()

    for one in following:
        one.result(FOREVER)
    assert len(watches) == 1


def test_while_the_server_is_away_the_first_word_of_another_process_is_missed_but_no_call_is_lost(
    scene, provider
):
    class Away(Prefixes):
        looked = 0

        def look(self, prefixes):
            Away.looked += 1
            raise redis.ConnectionError("away")

    scene.lead(scene.process())
    blind = scene.process(Away)
    (following,) = scene.follow(blind, "b")
    eventually(lambda: Away.looked > 2, "it to look again and again")

    blind.lobby.begun(blind.awaited)

    assert following.result(FOREVER).reply.output == "fine"
