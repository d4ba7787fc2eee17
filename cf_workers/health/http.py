"""How does a worker answer probes over HTTP?

`/healthz` says whether it lives, `/readyz` whether work can be done, and if not, why, `/metrics` numbers to a
monitoring system.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cf_workers.health.readiness import Readiness

log = logging.getLogger(__name__)

_OK, _NOT_FOUND, _UNAVAILABLE = 200, 404, 503
_IDLE_SECONDS = 5.0
_Answer = tuple[int, str, bytes]


class ProbeServer:
    """Serves the probes on daemon threads, from `start` to `stop`.

    Args:
        alive: whether the worker's own threads live.
        examine: asked anew for each `/readyz`.
        metrics: asked anew for each `/metrics`, with what the client accepts: a content type and a text.
        port: 0 takes any that is free.
    """

    def __init__(
        self,
        alive: Callable[[], bool],
        examine: Callable[[], Readiness],
        *,
        metrics: Callable[[str], tuple[str, bytes]] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._answers: dict[str, Callable[[str], _Answer]] = {
            "/healthz": lambda _: _liveness(alive()),
            "/readyz": lambda _: _readiness(examine()),
        }
        if metrics is not None:
            self._answers["/metrics"] = lambda accept: (_OK, *metrics(accept))
        self._address = (host, port)
        self._server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 while it does not."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is taken, or may not be used.
        """
        answers = self._answers

        class Handler(BaseHTTPRequestHandler):
            timeout = _IDLE_SECONDS

            def do_GET(self) -> None:
                answer = answers.get(self.path.partition("?")[0])
                accept = self.headers.get("Accept") or ""
                status, content_type, body = answer(accept) if answer else _nothing(answers)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Probes come every few seconds: nothing is logged of them."""

        self._server = ThreadingHTTPServer(self._address, Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="probes", daemon=True).start()

    def announce(self) -> None:
        """Say in the log where it listens."""
        log.info("probes.listening host=%s port=%d", self._address[0], self.port)

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _liveness(alive: bool) -> _Answer:
    return _document(_OK if alive else _UNAVAILABLE, {"alive": alive})


def _readiness(found: Readiness) -> _Answer:
    return _document(_OK if found.ready else _UNAVAILABLE, found.document())


def _nothing(known: Iterable[str]) -> _Answer:
    return _document(_NOT_FOUND, {"error": f"try {', '.join(known)}"})


def _document(status: int, values: dict[str, Any]) -> _Answer:
    return status, "application/json", json.dumps(values).encode()
