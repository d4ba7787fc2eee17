import pytest


@pytest.mark.parametrize("verb", ["requeue", "drop"])
def test_an_id_that_is_none_is_refused_before_any_server_is_asked(verb, cf):
    result = cf("dlq", verb, "4f2a")

    assert result.exit_code == 2
    assert "'4f2a' is not the id of a dead letter" in result.stderr
    assert "RUN:STEP" in result.stderr
    assert cf.no_server_was_started
