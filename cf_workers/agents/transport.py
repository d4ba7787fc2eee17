"""How does the SDK reach the API so that a call can be stopped at any moment?

A transport of httpx2 over the public pool of httpcore2, with our own network backend: each read, write and
handshake first tells the thread's `Flight` which socket it is about to wait on. Imported only with the SDK.
"""

from __future__ import annotations

import contextlib
import importlib.util
import select
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2

from cf_workers.agents import flight
from cf_workers.errors import ConfigError
from cf_workers.processor import blocking

SOCKET_OPTIONS: tuple[tuple[int, int, int], ...] = tuple(
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 60),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 5),
    )
    if hasattr(socket, name)
)
"""Those of the SDK's own client: a peer that vanished is noticed although nothing is sent."""
_SENT_AT_ONCE = 16_384
"""Bytes that the socket's buffer takes without a wait (the second figure of Linux's `net.ipv4.tcp_wmem`)."""


class InterruptibleStream(httpcore2.NetworkStream):
    """A connected socket whose reads and writes belong to the thread's flight."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._flight: flight.Flight | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _as_core_errors(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._board(timeout)
            with blocking():
                return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        with _as_core_errors(httpcore2.WriteTimeout, httpcore2.WriteError):
            self._board(timeout)
            view = memoryview(buffer)
            while view:
                with blocking() if len(view) > _SENT_AT_ONCE else contextlib.nullcontext():
                    view = view[self._socket.send(view) :]

    def close(self) -> None:
        if self._flight is not None:
            self._flight.release()
            self._flight = None
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        with _as_core_errors(httpcore2.ConnectTimeout, httpcore2.ConnectError):
            wrapped = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            secure = InterruptibleStream(wrapped)
            try:
                secure._board(timeout)
                with blocking():
                    wrapped.do_handshake()
            except BaseException:  # a cancel as well: nobody else has this socket to close it
                secure.close()
                raise
        return secure

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._is_readable()
        if info == "socket":
            return self._socket
        if info == "client_addr":
            return self._socket.getsockname()
        if info == "server_addr":
            return self._socket.getpeername()
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        return None

    def _board(self, timeout: float | None) -> None:
        self._flight = flight.current()
        self._socket.settimeout(timeout)
        if self._flight is not None:
            self._flight.hold(self._socket)

    def _is_readable(self) -> bool:
        if self._socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


class InterruptibleBackend(httpcore2.NetworkBackend):
    """Makes connections that belong to the thread's flight from the first packet on."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        source = None if local_address is None else (local_address, 0)
        with _as_core_errors(httpcore2.ConnectTimeout, httpcore2.ConnectError):
            with blocking():
                sock = flight.dial(host, port, timeout, socket_options or SOCKET_OPTIONS, source)
            return InterruptibleStream(sock)


class InterruptibleTransport(httpx2.BaseTransport):
    """What the SDK's client sends through; proxies come from the environment, as with the SDK's own.

    Args:
        ssl_context: shared by all transports of a process, for making one takes 20 ms.
        connections: the most that may be open at once.
        keepalive_seconds: how long an idle connection is kept.
    """

    def __init__(self, ssl_context: ssl.SSLContext, *, connections: int, keepalive_seconds: float) -> None:
        self._ssl_context = ssl_context
        self._sizes: dict[str, Any] = {
            "max_connections": connections,
            "max_keepalive_connections": connections,
            "keepalive_expiry": keepalive_seconds,
        }
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str], httpcore2.ConnectionPool] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        with _as_client_errors():
            answer = self._pool_for(url.scheme, url.host).handle_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        in_flight = flight.current()
        if in_flight is not None:
            in_flight.answered = True
            in_flight.request_id = _header(answer, b"request-id")
        return httpx2.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer, in_flight),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()

    def _pool_for(self, scheme: str, host: str) -> httpcore2.ConnectionPool:
        pool = self._pools.get((scheme, host))
        if pool is None:
            with self._lock:
                pool = self._pools.get((scheme, host)) or self._make_pool(proxy_for(scheme, host))
                self._pools[scheme, host] = pool
        return pool

    def _make_pool(self, proxy_url: str | None) -> httpcore2.ConnectionPool:
        common = {"ssl_context": self._ssl_context, "network_backend": InterruptibleBackend(), **self._sizes}
        if proxy_url is None:
            return httpcore2.ConnectionPool(**common)
        proxy = httpx2.Proxy(proxy_url)
        address = httpcore2.URL(
            scheme=proxy.url.raw_scheme,
            host=proxy.url.raw_host,
            port=proxy.url.port,
            target=proxy.url.raw_path,
        )
        kind = httpcore2.SOCKSProxy if proxy.url.scheme.startswith("socks5") else httpcore2.HTTPProxy
        return kind(proxy_url=address, proxy_auth=proxy.raw_auth, **common)


def proxy_for(scheme: str, host: str) -> str | None:
    """The proxy that the environment (HTTPS_PROXY, ALL_PROXY, NO_PROXY, …) names for a host.

    Raises:
        ConfigError: it is one that cannot be used.
    """
    proxies = getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or proxy_bypass(host):
        return None
    url = url if "://" in url else f"http://{url}"
    proxy_scheme = url.partition("://")[0].lower()
    if proxy_scheme not in ("http", "socks5", "socks5h"):
        raise ConfigError(
            f"The environment names a proxy of the kind {proxy_scheme!r}, which is not supported.",
            {"hint": "Use an http:// or socks5:// proxy, or list the host in NO_PROXY."},
        )
    if proxy_scheme != "http":
        _need_socks()
    return url


def _need_socks() -> None:
    if importlib.util.find_spec("socksio") is None:
        raise ConfigError(
            "The environment names a SOCKS proxy, but the package 'socksio' is not installed.",
            {"hint": "Run `pip install socksio` in the worker's environment."},
        )


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response, in_flight: flight.Flight | None) -> None:
        self._answer = answer
        self._flight = in_flight

    def __iter__(self) -> Iterator[bytes]:
        with _as_client_errors():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        # Before the connection goes back to the pool, where the next call may take it at once.
        if self._flight is not None:
            self._flight.release()
        with _as_client_errors():
            self._answer.close()


def _header(answer: httpcore2.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in answer.headers if key.lower() == name), None)


@contextlib.contextmanager
def _as_core_errors(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error)) from error
    except OSError as error:
        raise failure(str(error)) from error


@contextlib.contextmanager
def _as_client_errors() -> Iterator[None]:
    """httpx2 names its errors as httpcore2 does."""
    try:
        yield
    except Exception as error:  # every error of the layer below is re-raised
        for kind in type(error).__mro__:
            known = getattr(httpx2, kind.__name__, None)
            if kind.__module__ == "httpcore2" and known is not None:
                raise known(str(error)) from error
        raise
