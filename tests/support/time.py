"""How does a test move the time of a fake Redis server? Its TIME and its expiry follow the test alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest


@dataclass
class ServerTime:
    """Stands in for the `time` module where fakeredis asks for the time."""

    seconds: float = 1_800_000_000.0

    def time(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


def scripted_server_time(patch: pytest.MonkeyPatch) -> ServerTime:
    """The time of all fake servers, standing still until it is advanced."""
    scripted: Any = ServerTime()
    patch.setattr("fakeredis.commands_mixins.server_mixin.time", scripted)
    patch.setattr("fakeredis._socket._base.time", scripted)
    return scripted


class StandingClock:
    """Time passes only when the test says so."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
