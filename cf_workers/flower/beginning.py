"""With which options, pages and templates does Flower begin?"""

from __future__ import annotations

import logging
from typing import Any

from flower import urls
from flower.options import default_options
from tornado.options import OptionParser

from cf_workers.application import default_context
from cf_workers.flower.handlers import handlers
from cf_workers.flower.loading import Loader
from cf_workers.flower.reading import open_reading
from cf_workers.tasks.app import app

log = logging.getLogger("cf_workers.flower")

TASKS_COLUMNS = "name,args,state,received,runtime,uuid,worker"
"""The arguments' representation names agent, run and step."""

LOCAL = ("127.0.0.1", "::1", "localhost")


def begin() -> None:
    """Set our defaults and add our pages; called whenever options have been read, which may be twice."""
    set_defaults(default_options)
    if "template_loader" not in urls.settings:
        urls.settings["template_loader"] = Loader(urls.settings["template_path"])
        urls.handlers[:0] = handlers(open_reading(default_context(), app))
    warn_if_open(default_options)


def set_defaults(options: OptionParser) -> None:
    """Listen on this machine alone, and change nothing for somebody who has not said who they are."""
    _default(options, "address", LOCAL[0])
    _default(options, "tasks_columns", TASKS_COLUMNS)
    _default(options, "read_only", not _asks_who(options))


def warn_if_open(options: OptionParser) -> None:
    """Say so where everybody on the network sees, or even stops, everything."""
    if options.unix_socket or options.address in LOCAL or _asks_who(options):
        return
    log.warning(
        "flower.open address=%s read_only=%s hint=%s",
        options.address or "every one",
        options.read_only,
        "whoever reaches it sees all runs: set FLOWER_BASIC_AUTH=user:password",
    )


def _asks_who(options: OptionParser) -> bool:
    return bool(options.basic_auth or options.auth)


def _default(options: OptionParser, name: str, value: Any) -> None:
    """What the option is unless it was set anywhere: tornado has no public way to change that."""
    options._options[name.replace("_", "-")].default = value
