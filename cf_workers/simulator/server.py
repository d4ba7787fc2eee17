"""How does the stand-in run: on a thread for tests, in the foreground for people?"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets

from cf_workers.clock import Clock, SystemClock
from cf_workers.errors import UnreachableError
from cf_workers.simulator.api import MAX_BATCH_BODY, Api
from cf_workers.simulator.config import SimulatorConfig
from cf_workers.simulator.control import Spelling, scripted
from cf_workers.simulator.exchange import Exchange
from cf_workers.simulator.journal import RequestRecord, RowRecord, Stats
from cf_workers.simulator.state import SimulatorState

BACKLOG = 4096
LARGEST_BODY = MAX_BATCH_BODY + 1024 * 1024
"""A little more than the API takes, so that a body that is too large gets its 413."""
START_SECONDS = 10.0

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Simulator:
    """The stand-in on a background thread, for as long as the `with` block lasts.

    The thread starts with the block; the constructor opens nothing.
    """

    def __init__(
        self, config: SimulatorConfig | None = None, *, clock: Clock | None = None, port: int = 0
    ) -> None:
        self._state = SimulatorState(clock or SystemClock(), config or SimulatorConfig())
        self._port = port
        self._url = ""
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        sockets = _bound("127.0.0.1", self._port)
        self._url = url_of(sockets[0])
        self._started = Future()
        self._thread = threading.Thread(target=self._work, args=(sockets,), name="simulator", daemon=True)
        self._thread.start()
        self._started.result(START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread and self._stop:
            self._started.result().call_soon_threadsafe(self._stop.set)
            self._thread.join(START_SECONDS)

    @property
    def url(self) -> str:
        """Where it listens, for `ANTHROPIC_BASE_URL` and `SimulatorControl`."""
        return self._url

    def requests(self) -> list[RequestRecord]:
        """The requests so far, in order of arrival."""
        return self._inside(self._state.journal.records)

    def rows(self) -> list[RowRecord]:
        """The rows of message batches that have ended and been looked at."""
        return self._inside(self._state.journal.rows)

    def end_batches(self) -> int:
        """End every message batch now, all of its rows reached; how many there were."""
        return self._inside(self._state.batches.end)

    def stats(self) -> Stats:
        """Sums since the start or the last reset."""
        return self._inside(self._state.journal.stats)

    def reset(self) -> None:
        """As just started."""
        self._inside(self._state.reset)

    def set_faults(self, *faults: Spelling) -> None:
        """Replace the script of faults; names such as `"529"` stand for a fault of the next request."""
        script = [scripted(fault) for fault in faults]
        self._inside(lambda: self._state.script(*script))

    def configure(self, **changes: object) -> None:
        """Change fields of the configuration while it runs."""
        self._inside(lambda: self._state.reconfigure(changes))

    def _inside(self, action: Callable[[], T]) -> T:
        """Do something on the server's thread, the only one that touches the state."""
        done: Future[T] = Future()

        def act() -> None:
            try:
                done.set_result(action())
            except BaseException as error:  # noqa: BLE001 - carried to the calling thread, which raises it
                done.set_exception(error)

        self._started.result(START_SECONDS).call_soon_threadsafe(act)
        return done.result(START_SECONDS)

    def _work(self, sockets: list[socket.socket]) -> None:
        async def main() -> None:
            self._stop = asyncio.Event()
            self._started.set_result(asyncio.get_running_loop())
            await run_until(self._stop, self._state, sockets)

        asyncio.run(main())


def serve(config: SimulatorConfig, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve in the foreground until SIGTERM or SIGINT.

    Args:
        port: 0 lets the system choose.
        announce: called once with the URL, when requests are accepted.

    Raises:
        UnreachableError: the address cannot be listened on.
    """
    sockets = _bound(host, port)
    _raise_file_limit()

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        announce(url_of(sockets[0]))
        await run_until(stop, SimulatorState(SystemClock(), config), sockets)

    asyncio.run(main())


async def run_until(stop: asyncio.Event, state: SimulatorState, sockets: list[socket.socket]) -> None:
    """Serve on these sockets until the event is set, then let go of every client."""
    api = Api(state)
    under_way: set[asyncio.Task[None]] = set()

    def begin(request: HTTPServerRequest) -> None:
        exchange = Exchange(request)
        task = asyncio.ensure_future(_served(api, exchange))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        exchange.when_client_leaves(lambda: _cancel(task))

    server = HTTPServer(begin, max_body_size=LARGEST_BODY, max_buffer_size=LARGEST_BODY)
    server.add_sockets(sockets)
    await stop.wait()
    server.stop()
    for task in list(under_way):
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    await server.close_all_connections()


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


async def _served(api: Api, exchange: Exchange) -> None:
    try:
        await api.serve(exchange)
    except StreamClosedError:
        pass  # the client has left, which the journal says
    except asyncio.CancelledError:
        exchange.cut()
        raise
    except Exception:  # noqa: BLE001 - the process's border; a defect must not pass for a fault asked for
        _log.exception("simulator.defect method=%s path=%s", exchange.method, exchange.path)
        exchange.cut()


def url_of(listener: socket.socket) -> str:
    """The URL under which a client of this machine reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - recognised, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bound(host: str, port: int) -> list[socket.socket]:
    try:
        return bind_sockets(port, address=host, backlog=BACKLOG)
    except OSError as error:
        raise UnreachableError(
            f"The simulator cannot listen on {host}:{port}: {error.strerror or error}",
            {"hint": "choose another --port, or 0 for a free one"},
        ) from None


def _raise_file_limit() -> None:
    """A thousand slow calls are a thousand open sockets."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
