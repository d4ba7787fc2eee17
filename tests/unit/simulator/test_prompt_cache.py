"""How much of a prompt is read from and written to the prompt cache?"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.simulator.problem import ApiProblem
from cf_workers.simulator.prompt_cache import PromptCache, PromptUsage, blocks_of
from tests.unit.simulator.clock import ScriptedClock

HOUR = {"type": "ephemeral", "ttl": "1h"}
FIVE = {"type": "ephemeral"}
LONG = "x" * 4000  # 1000 tokens


@pytest.fixture
def clock() -> ScriptedClock:
    return ScriptedClock()


@pytest.fixture
def cache(clock: ScriptedClock) -> PromptCache:
    return PromptCache(clock)


def prompt(*parts: tuple[str, dict[str, str] | None], task: str = "task") -> dict[str, Any]:
    system = [{"type": "text", "text": text} | ({"cache_control": c} if c else {}) for text, c in parts]
    return {"system": system, "messages": [{"role": "user", "content": task}]}


def call(
    cache: PromptCache, body: dict[str, Any], scope: str = "key:model", minimum: int = 512
) -> PromptUsage:
    """One whole call: planned, and begun."""
    plan = cache.plan(scope, minimum, blocks_of(body))
    cache.begin(plan)
    return plan.usage


def test_the_first_call_writes_the_prefix_and_the_second_reads_it(cache):
    body = prompt((LONG, FIVE))

    assert call(cache, body) == PromptUsage(uncached=1, written_5m=1000)
    assert call(cache, prompt((LONG, FIVE), task="other")) == PromptUsage(uncached=2, read=1000)


def test_an_entry_is_readable_only_once_the_reply_that_wrote_it_has_begun(cache):
    blocks = blocks_of(prompt((LONG, FIVE)))
    first = cache.plan("key:model", 512, blocks)
    parallel = cache.plan("key:model", 512, blocks)
    cache.begin(first)
    later = cache.plan("key:model", 512, blocks)

    assert [plan.usage.written for plan in (first, parallel, later)] == [1000, 1000, 0]
    assert later.usage.read == 1000


def test_a_prefix_below_the_models_minimum_is_silently_not_cached(cache):
    body = prompt((LONG, FIVE))

    for _ in range(2):
        assert call(cache, body, minimum=1001) == PromptUsage(uncached=1001)


@pytest.mark.parametrize(("control", "seconds"), [(FIVE, 300), (HOUR, 3600)])
def test_an_entry_lives_as_long_as_its_ttl_says(cache, clock, control, seconds):
    call(cache, prompt((LONG, control)))

    clock.sleep(seconds - 1)
    blocks = blocks_of(prompt((LONG, control)))
    assert cache.plan("key:model", 512, blocks).usage.read == 1000
    clock.sleep(2)
    assert cache.plan("key:model", 512, blocks).usage.read == 0


def test_a_read_renews_the_entry(cache, clock):
    body = prompt((LONG, FIVE))
    call(cache, body)

    reads = []
    for _ in range(3):
        clock.sleep(299)
        reads.append(call(cache, body).read)

    assert reads == [1000, 1000, 1000]


def test_one_changed_character_in_the_prefix_is_a_miss(cache):
    call(cache, prompt((LONG, FIVE)))

    assert call(cache, prompt((LONG[:-1] + "y", FIVE))).read == 0


@pytest.mark.parametrize("scope", ["other-key:model", "key:other-model"])
def test_keys_and_models_do_not_share_entries(cache, scope):
    call(cache, prompt((LONG, FIVE)))

    assert call(cache, prompt((LONG, FIVE)), scope=scope).read == 0


def test_a_longer_prefix_reads_the_shorter_one_and_writes_the_rest(cache):
    call(cache, prompt((LONG, HOUR)))

    assert call(cache, prompt((LONG, HOUR), ("y" * 400, FIVE))) == PromptUsage(
        uncached=1, read=1000, written_5m=100
    )


def test_each_breakpoint_writes_at_its_own_ttl(cache):
    usage = call(cache, prompt((LONG, HOUR), ("y" * 400, FIVE)))

    assert usage == PromptUsage(uncached=1, written_1h=1000, written_5m=100)


def test_a_top_level_breakpoint_covers_the_last_block(cache):
    body = {**prompt((LONG, None)), "cache_control": FIVE}

    assert call(cache, body).uncached == 0
    assert call(cache, body).read == 1001


def test_an_entry_further_back_than_twenty_blocks_is_not_found(cache):
    call(cache, prompt((LONG, FIVE)))
    many = [(LONG, None)] + [("z" * 4, None)] * 20 + [("end.", FIVE)]
    few = [(LONG, None)] + [("z" * 4, None)] * 18 + [("end.", FIVE)]

    assert call(cache, prompt(*few)).read == 1000
    assert call(cache, prompt(*many)).read == 0


@pytest.mark.parametrize(
    "parts",
    [[("a", FIVE)] * 5, [("a", FIVE), ("b", HOUR)], [("a", {"type": "ephemeral", "ttl": "2h"})]],
    ids=["five breakpoints", "longer after shorter", "unknown ttl"],
)
def test_breakpoints_that_the_api_refuses_are_refused(parts):
    with pytest.raises(ApiProblem) as caught:
        blocks_of(prompt(*parts))

    assert caught.value.status == 400
    assert "cache_control" in caught.value.text


@given(st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([None, "5m"])), min_size=1, max_size=6))
def test_the_parts_of_a_prompt_always_add_up(sizes):
    cache = PromptCache(ScriptedClock())
    marked = 0
    parts: list[tuple[str, dict[str, str] | None]] = []
    for size, ttl in sizes:
        marked += bool(ttl)
        parts.append(("w" * size, FIVE if ttl and marked <= 4 else None))
    total = sum(block.tokens for block in blocks_of(prompt(*parts)))

    for _ in range(2):
        usage = call(cache, prompt(*parts))
        assert usage.total == total
        assert min(usage.uncached, usage.read, usage.written_5m, usage.written_1h) >= 0
