"""How does a worker answer probes over HTTP?

`/healthz` says whether it lives, `/readyz` whether work can be done, and if not, why.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cf_workers.health.readiness import Readiness

log = logging.getLogger(__name__)

_OK, _NOT_FOUND, _UNAVAILABLE = 200, 404, 503
_IDLE_SECONDS = 5.0


class ProbeServer:
    """Serves the probes on daemon threads, from `start` to `stop`.

    Args:
        alive: whether the worker's own threads live.
        examine: asked anew for each `/readyz`.
        port: 0 takes any that is free.
    """

    def __init__(
        self,
        alive: Callable[[], bool],
        examine: Callable[[], Readiness],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._answers = {"/healthz": lambda: _liveness(alive()), "/readyz": lambda: _readiness(examine())}
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
                status, document = answer() if answer else (_NOT_FOUND, {"error": "try /healthz or /readyz"})
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
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


def _liveness(alive: bool) -> tuple[int, dict[str, Any]]:
    return (_OK if alive else _UNAVAILABLE), {"alive": alive}


def _readiness(found: Readiness) -> tuple[int, dict[str, Any]]:
    return (_OK if found.ready else _UNAVAILABLE), found.document()
