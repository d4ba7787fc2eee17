"""What keeps beating while the event loop stands still?

The loop stands still while the pool drains and while the broker is away, so both beats are threads.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from cf_workers.reliability.ledger import ledger
from cf_workers.reliability.transport import UNREACHABLE

log = logging.getLogger(__name__)


class Beat:
    """Calls `beat` every so many seconds on a daemon thread of its own, from `start` to `stop`."""

    def __init__(self, name: str, every: float) -> None:
        self.every = every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self.every):
            try:
                self.beat()
            except Exception:  # told, and the next one may do
                log.exception("beat failed name=%s", self._thread.name)

    def beat(self) -> None:
        raise NotImplementedError


class LeaseBeat(Beat):
    """Renews the visibility timeout of every message that this worker holds.

    Four times per timeout: a 60 s timeout is then safe for calls of any length and for messages that wait for
    their ETA, and a killed worker's messages come back within the minute.
    """

    def __init__(self, channel: Any) -> None:
        super().__init__("lease-heartbeat", max(0.25, channel.visibility_timeout / 4))
        self.channel = channel
        self._failing = False

    def beat(self) -> None:
        qos = self.channel.qos
        try:
            qos.renew(qos.delivered_tags() | ledger.kept())
        except UNREACHABLE as error:
            if not self._failing:
                log.warning("leases cannot be renewed; messages may run twice if this lasts: %s", error)
            self._failing = True
        else:
            if self._failing:
                log.warning("leases are renewed again")
            self._failing = False


class HeartbeatFile(Beat):
    """A file that is touched while the worker is alive, by the event loop whenever there is one.

    A stuck loop must look dead, so the thread touches the file only while no loop is expected to turn.
    """

    def __init__(self, path: Path, every: float) -> None:
        super().__init__("heartbeat-file", every)
        self.path = path
        self.loop_turns = False
        self._failing = False

    def beat(self) -> None:
        if not self.loop_turns:
            self.touch()

    def touch(self) -> None:
        try:
            self.path.touch()
        except OSError as error:
            if not self._failing:
                log.warning("heartbeat file %s cannot be written: %s", self.path, error)
            self._failing = True
        else:
            self._failing = False

    def remove(self) -> None:
        self.stop()
        self.path.unlink(missing_ok=True)
