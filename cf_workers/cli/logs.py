"""What does a person at the command line see of the log? Sentences; fields are for those who search it."""

from __future__ import annotations

import logging

import click

from cf_workers.cli.output import warn

_SENTENCES = {
    "cache.secret_generated": None,  # nothing to be done now; `doctor` advises one of your own
    "cache.failed": "the response cache does not answer ({0}); going on without it",
    "cache.unusable": "the response cache cannot be used: {0}",
    "model.warning": "{1}",
    "price.unknown": "the price of the model {0} is not known: its costs are unknown, not zero",
}
"""By event, made of the arguments that it is logged with; `None` is not told. Others are told as they are."""


class Told(logging.Handler):
    """Prints warnings and errors of ours on standard error, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = _sentence(record)
        if text is None or text in self._told:
            return
        self._told.add(text)
        warn(text)
        if record.exc_info:
            click.echo(logging.Formatter().formatException(record.exc_info), err=True)


def tell_people() -> None:
    """From now on this process logs for a person; what it configured itself stays as it is."""
    logging.getLogger("cf_workers").addHandler(Told())


def _sentence(record: logging.LogRecord) -> str | None:
    event = str(record.msg).split(" ", 1)[0]
    if event not in _SENTENCES:
        return record.getMessage()
    sentence = _SENTENCES[event]
    return sentence and sentence.format(*(record.args or ()))
