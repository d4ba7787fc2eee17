"""What a run is pinned to stays as long as somebody needs it, and no longer."""

import pytest

from cf_workers.errors import DefinitionMissingError
from cf_workers.workflows.definitions import Definitions

DAY = 86_400


@pytest.fixture
def fresh(engine):
    """Definitions as another process sees them: with nothing read yet."""
    return lambda: Definitions(engine.client, engine.keys)


def ttl(engine, digest):
    return engine.client.ttl(engine.keys.definition(digest))


def test_a_pinned_text_is_found_under_its_digest(engine, fresh):
    engine.definitions.pin("r1", {"d1": "text", "d2": "другой"}, DAY)

    assert (fresh().get("d1"), fresh().get("d2")) == ("text", "другой")


def test_a_text_that_is_not_there_is_an_error_that_says_what_to_do(fresh):
    with pytest.raises(DefinitionMissingError, match="definition 0123456789ab is not in the store") as caught:
        fresh().get("0123456789abcdef")

    assert caught.value.hint == "start the run again from its project"


def test_a_text_is_read_once_by_a_process(engine, fresh):
    engine.definitions.pin("r1", {"d1": "text"}, DAY)
    here = fresh()
    here.get("d1")
    engine.client.delete(engine.keys.definition("d1"))

    assert here.get("d1") == "text"
    with pytest.raises(DefinitionMissingError):
        fresh().get("d1")


def test_a_text_that_was_missing_is_found_once_it_is_pinned(engine, fresh):
    here = fresh()
    with pytest.raises(DefinitionMissingError):
        here.get("d1")

    engine.definitions.pin("r1", {"d1": "text"}, DAY)

    assert here.get("d1") == "text"


def test_a_definition_outlives_its_last_user_by_one_retention(engine):
    for run in ("r1", "r2"):
        engine.definitions.pin(run, {"d1": "text"}, 30 * DAY)

    engine.definitions.unpin("r1", ["d1"], 7 * DAY)
    assert ttl(engine, "d1") == 30 * DAY
    engine.definitions.unpin("r2", ["d1"], 7 * DAY)
    assert ttl(engine, "d1") == 7 * DAY
    assert not engine.client.exists(engine.keys.definition_users("d1"))


def test_unpinning_twice_changes_nothing(engine):
    engine.definitions.pin("r1", {"d1": "text"}, 30 * DAY)
    engine.definitions.pin("r2", {"d1": "text"}, 30 * DAY)

    for _ in range(2):
        engine.definitions.unpin("r1", ["d1"], 7 * DAY)

    assert ttl(engine, "d1") == 30 * DAY


def test_a_retention_below_a_second_does_not_take_the_definition_away_at_once(engine, fresh):
    engine.definitions.pin("r1", {"d1": "text"}, DAY)

    engine.definitions.unpin("r1", ["d1"], 0.5)

    assert fresh().get("d1") == "text"


def test_another_attempt_keeps_what_the_run_used_before(engine, fresh):
    engine.definitions.pin("r1", {"d1": "text"}, 30 * DAY)
    engine.definitions.unpin("r1", ["d1"], 7 * DAY)

    engine.definitions.repin("r1", ["d1"], 30 * DAY)

    assert ttl(engine, "d1") == 30 * DAY
    assert fresh().get("d1") == "text"
    assert engine.client.smembers(engine.keys.definition_users("d1")) == {"r1"}
