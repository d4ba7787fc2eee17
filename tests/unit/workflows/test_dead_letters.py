"""The evidence on a step that was given up is kept for a while, and can be found and dropped."""

from dataclasses import replace

import pytest

from cf_workers.errors import InputError
from cf_workers.workflows.dead_letters import DeadLetter, DeadLetterPolicy, DeadLetters

LETTER = DeadLetter(
    run="r1",
    step="a",
    agent="writer",
    attempt=1,
    deaths=3,
    workers=("h:1:x", "h:2:y", "h:3:z"),
    error="3 died",
)


@pytest.fixture
def letters(engine):
    return DeadLetters(engine.client, engine.keys)


def test_a_letter_says_what_died_where_and_when(letters):
    stored = letters.add(LETTER)

    (found,) = letters.newest()
    assert found == stored == letters.get("r1:a")
    assert found.at > 0
    assert replace(found, at=None) == LETTER
    assert found.document()["workers"] == ["h:1:x", "h:2:y", "h:3:z"]


def test_the_newest_letters_come_first(letters, server_time):
    for step in "abc":
        letters.add(replace(LETTER, step=step))
        server_time.advance(1)

    assert [letter.step for letter in letters.newest(limit=2)] == ["c", "b"]


def test_a_letter_written_twice_is_one_letter(letters):
    letters.add(LETTER)
    letters.add(replace(LETTER, attempt=2))

    assert [letter.attempt for letter in letters.newest()] == [2]


def test_a_letter_expires_with_the_record_of_its_run(engine, server_time):
    letters = DeadLetters(engine.client, engine.keys, DeadLetterPolicy(keep_seconds=60))
    letters.add(LETTER)
    server_time.advance(61)

    assert letters.newest() == []
    letters.add(replace(LETTER, step="b"))
    assert engine.client.zcard(engine.keys.dead_letters) == 1


def test_the_oldest_letters_go_when_there_are_too_many(engine, server_time):
    letters = DeadLetters(engine.client, engine.keys, DeadLetterPolicy(at_most=2))
    for step in "abc":
        letters.add(replace(LETTER, step=step))
        server_time.advance(1)

    assert [letter.step for letter in letters.newest()] == ["c", "b"]


def test_a_letter_that_was_dropped_is_gone(letters, engine):
    stored = letters.add(LETTER)

    letters.drop([stored])

    assert letters.newest() == []
    assert list(engine.client.scan_iter("cfw:dead*")) == []


def test_a_letter_that_is_not_there_is_an_input_error_that_says_where_to_look(letters):
    with pytest.raises(InputError, match="'r1:b'") as caught:
        letters.get("r1:b")

    assert "dlq list" in caught.value.hint


def test_the_letters_of_a_run_are_found_by_its_steps(letters):
    letters.add(LETTER)
    letters.add(replace(LETTER, run="r2"))

    assert [letter.run for letter in letters.of_run("r1", ["a", "b"])] == ["r1"]
    assert letters.of_run("r1", []) == []
