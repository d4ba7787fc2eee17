"""What do events, Flower and logs show of a message? Which agent, run and step; never a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cf_workers.project.problems import is_name
from cf_workers.reliability.request import Request

_AGENT_AND_TASK = 2
_OURS = ("agent=", "run=")


class AgentRequest(Request):
    """A request whose arguments are represented by what identifies them, whoever published it."""

    _argsrepr: str
    _kwargsrepr: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not (self._argsrepr or "").startswith(_OURS):
            self._argsrepr = identify(self._args or ())
        self._kwargsrepr = "{}"


def identify(args: Sequence[Any]) -> str:
    """The arguments of `run_agent` without what is asked: `agent=NAME`.

    Arguments that are none of its own may hold anything: of these nothing is told.
    """
    texts = [value for value in args if isinstance(value, str)]
    fits = 1 <= len(texts) <= _AGENT_AND_TASK and is_name(texts[0])
    return f"agent={texts[0]}" if fits else "agent=?"
