"""How does a command come by its project and the server? As the caller named them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cf_workers.cli.output import notice
from cf_workers.cli.session import session

if TYPE_CHECKING:
    from cf_workers.client import Client


def opened_client() -> Client:
    """A client of the project in question; it connects to nothing yet."""
    from cf_workers.client import Client

    return Client(config=session().config, announce=notice)


@contextmanager
def reached_client() -> Iterator[Client]:
    """A client for commands that speak to the server's own keys: what fails there names the server."""
    with opened_client() as client, client.reaching():
        yield client
