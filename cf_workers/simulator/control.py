"""How does another process look into a running stand-in and steer it?"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from cf_workers.errors import InputError, UnreachableError
from cf_workers.simulator.faults import Fault, ScriptedFault, fault_named
from cf_workers.simulator.journal import RequestRecord, RowRecord, Stats

Spelling = ScriptedFault | Fault | str
"""A scripted fault, a fault for the next request, or its name, for example `"529"` or `"reset"`."""


class SimulatorControl:
    """The control endpoints of the stand-in at that URL.

    Every method raises `UnreachableError` when nothing answers there, and `InputError` when what it sent
    is refused.
    """

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout

    def requests(self, *, bodies: bool = False, since: int = 0) -> list[RequestRecord]:
        """The requests in order of arrival, those numbered above `since`; with their bodies on demand."""
        answer = self._ask("GET", f"requests?bodies={int(bodies)}&since={since}")
        return [RequestRecord(**record) for record in answer["requests"]]

    def rows(self) -> list[RowRecord]:
        """The rows of message batches that have ended and been looked at, in the order of their batches."""
        return [RowRecord(**row) for row in self._ask("GET", "rows")["rows"]]

    def end_batches(self) -> int:
        """End every message batch now, all of its rows reached; how many there were."""
        return int(self._ask("POST", "batches/end")["ended"])

    def stats(self) -> Stats:
        """Sums since the start or the last reset."""
        return Stats(**self._ask("GET", "stats"))

    def config(self) -> dict[str, Any]:
        """The configuration in force; the key is masked."""
        return dict(self._ask("GET", "config"))

    def configure(self, **changes: Any) -> None:
        """Change fields of the configuration, named as in `SimulatorConfig`."""
        self._ask("POST", "config", changes)

    def set_faults(self, *faults: Spelling) -> None:
        """Replace the script."""
        self._ask("POST", "faults", {"faults": _spelt(faults), "replace": True})

    def add_faults(self, *faults: Spelling) -> None:
        """Lengthen the script."""
        self._ask("POST", "faults", {"faults": _spelt(faults)})

    def reset(self) -> None:
        """As just started."""
        self._ask("POST", "reset")

    def _ask(self, method: str, path: str, value: dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(value or {}).encode() if method == "POST" else None
        request = urllib.request.Request(f"{self._url}/_control/{path}", data, method=method)  # noqa: S310
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self._timeout) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                refusal = json.loads(error.read() or b"{}")
            raise InputError(str(refusal.get("error")), {"hint": refusal.get("hint")}) from None
        except OSError as error:
            raise UnreachableError(f"No simulator answers at {self._url}: {error}") from None


def scripted(fault: Spelling) -> ScriptedFault:
    """A fault in its full spelling.

    Raises:
        ConfigError: there is no fault of that name.
    """
    if isinstance(fault, ScriptedFault):
        return fault
    return ScriptedFault(fault_named(fault) if isinstance(fault, str) else fault)


def _spelt(faults: Iterable[Spelling]) -> list[dict[str, Any]]:
    return [asdict(scripted(fault)) for fault in faults]
