"""Servers that can be killed, with everything they had acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROCESSES
from tests.support.chaos.fleet import DurableServer, durable_stack
from tests.support.stack import Stack


@pytest.fixture
def durable(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Stack, DurableServer]]:
    """A stack on a server of its own that keeps what it acknowledged; the test starts the workers."""
    with durable_stack(tmp_path) as (stack, server):
        request.node.stash[PROCESSES] = stack.processes
        yield stack, server
