"""How is a Redis server reached, and how is its address told without its password?"""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

RedisClient: TypeAlias = Any
"""A `redis.Redis` that decodes. redis-py's own types leave open what a reply is."""

CONNECT_TIMEOUT_SECONDS = 5.0
SOCKET_TIMEOUT_SECONDS = 30.0


def connect(
    url: str,
    *,
    max_connections: int = 64,
    timeout_seconds: float | None = None,
) -> RedisClient:
    """Return a thread-safe client; nothing is sent before its first command.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        max_connections: bound of its pool; a caller beyond it waits for a connection.
        timeout_seconds: for users who would rather go on without an answer: bound of connecting, of sending
            and of waiting, each, and nothing is tried twice.
    """
    patient = timeout_seconds is None
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_seconds or SOCKET_TIMEOUT_SECONDS,
        socket_timeout=timeout_seconds or SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=timeout_seconds or CONNECT_TIMEOUT_SECONDS,
        socket_keepalive=True,
        health_check_interval=25,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries=3 if patient else 0),
        decode_responses=True,
    )
    return redis.Redis(connection_pool=pool)


def connect_bounded(url: str, *, timeout_seconds: float, max_connections: int = 64) -> RedisClient:
    """Return a thread-safe client that gives up soon, for what can be done without; it does not decode.

    A connection that turns out to be broken is replaced once; a time-out is not followed by another try.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout_seconds: bound on each of: a free connection, connecting, an answer.
    """
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), retries=1, supported_errors=(redis.ConnectionError,)),
        decode_responses=False,
    )
    return redis.Redis(connection_pool=pool)


def server_time(client: RedisClient) -> float:
    """Unix seconds, by the server's clock."""
    seconds, micros = client.time()
    return float(seconds) + float(micros) / 1e6


def describe_url(url: str) -> str:
    """`redis://host:port/db`, without user, password and options: fit for logs and people.

    Of an address that cannot be taken apart for certain nothing but its scheme is told: an unescaped `/`, `?`
    or `#` in a password moves the rest of it into the other parts.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "an address without a scheme"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return f"{scheme}://(unreadable)"
    if rest.count("@") != parts.netloc.count("@"):
        return f"{scheme}://(unreadable)"
    if not host:
        host = "" if scheme.startswith("unix") else "localhost"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}{f':{port}' if port else ''}{parts.path}"
