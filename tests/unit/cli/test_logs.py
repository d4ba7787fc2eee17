"""What is logged while a command runs reads as a sentence, or is not for people."""

import logging

import pytest

from cf_workers.cli.logs import Told

log = logging.getLogger("cf_workers.tests")


@pytest.fixture(autouse=True)
def told():
    logger, handler = logging.getLogger("cf_workers"), Told()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def test_a_warning_is_a_sentence_and_told_once(capsys):
    for _ in range(2):
        log.warning("cache.failed error=%s", "ConnectionError")

    assert capsys.readouterr().err == (
        "warning: the response cache does not answer (ConnectionError); going on without it\n"
    )


def test_that_a_secret_was_generated_is_nothing_that_a_person_has_to_act_on(capsys):
    log.warning("cache.secret_generated hint=%s", "set it")

    assert capsys.readouterr().err == ""


def test_what_nobody_has_put_into_words_is_told_as_it_is(capsys):
    log.warning("something.new run=%s", "r1")
    log.info("step.released run=%s", "r1")

    assert capsys.readouterr().err == "warning: something.new run=r1\n"


def test_a_defect_is_told_with_where_it_is(capsys):
    try:
        raise KeyError("x")
    except KeyError:
        log.exception("simulator.defect path=%s", "/")

    said = capsys.readouterr().err
    assert said.startswith("warning: simulator.defect path=/\n")
    assert said.endswith("KeyError: 'x'\n")
