"""A process remembers what it has seen of prompts for as long as that holds."""

import pytest

from cf_workers.tasks.known_prompts import KnownPrompts, Prompt

PROMPT = Prompt("claude-sonnet-5", "Be thorough.", None)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def prompts(clock):
    return KnownPrompts(clock)


def test_a_prompt_is_warm_for_four_minutes_after_its_last_use(prompts, clock):
    prompts.used(PROMPT)
    clock.now += 200
    prompts.used(PROMPT)
    clock.now += 239
    assert prompts.is_warm(PROMPT)

    clock.now += 2

    assert not prompts.is_warm(PROMPT)


def test_a_prompt_that_the_provider_did_not_read_is_not_warm(prompts):
    prompts.used(PROMPT)

    prompts.unused(PROMPT)

    assert not prompts.is_warm(PROMPT)


def test_the_prompt_of_another_model_or_contract_is_another_one(prompts):
    prompts.used(PROMPT)

    assert not prompts.is_warm(PROMPT._replace(model="claude-opus-4-5"))
    assert not prompts.is_warm(PROMPT._replace(contract="Answer in JSON."))


def test_what_is_settled_stays_so_for_its_time_whether_it_is_warm_or_not(prompts, clock):
    prompts.settle(PROMPT, 60)
    prompts.unused(PROMPT)
    clock.now += 59
    assert prompts.is_settled(PROMPT)

    clock.now += 2

    assert not prompts.is_settled(PROMPT)


def test_only_the_prompts_used_last_are_remembered(prompts):
    others = [PROMPT._replace(text=f"{n}") for n in range(600)]
    prompts.used(others[0])

    for other in others[1:]:
        prompts.used(other)
        prompts.used(PROMPT)

    assert prompts.is_warm(PROMPT)
    assert prompts.is_warm(others[-1])
    assert not prompts.is_warm(others[0])
    assert len(prompts._known) == 512
