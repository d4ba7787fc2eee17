"""Is the server one that keeps what it is told?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from cf_workers._redis import RedisClient, server_time
from cf_workers.doctor.findings import ADVICE, OK, PROBLEM, Finding

OLDEST = (6, 2)
"""The oldest release whose commands suffice."""

MOST_SKEW_SECONDS = 1.0
"""Retries and parked steps may begin so much too early, and no more; see `RecordPolicy.early_seconds`."""


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself.

    Args:
        info: as INFO tells it.
        config: as CONFIG GET tells it; `None` where that is not allowed.
        skew_seconds: how much its clock is ahead of ours.
        round_trip_seconds: how long an answer took.
    """

    info: Mapping[str, Any]
    config: Mapping[str, str] | None
    skew_seconds: float
    round_trip_seconds: float


def read_server(client: RedisClient) -> ServerFacts:
    """Ask the server.

    Raises:
        redis.RedisError: it does not answer.
    """
    began = time.time()
    there = server_time(client)
    took = time.time() - began
    skew = there - (began + took / 2)
    try:
        config: Mapping[str, str] | None = client.config_get("appendfsync")
    except redis.ResponseError:
        config = None
    return ServerFacts(client.info(), config, skew, took)


def server_findings(facts: ServerFacts) -> Iterator[Finding]:
    """Everything about one server."""
    info = facts.info
    yield _of_version(info)
    yield _of_role(info)
    yield _of_eviction(info)
    yield from _of_persistence(info, facts.config)
    yield _of_clock(facts)


def _of_version(info: Mapping[str, Any]) -> Finding:
    number = str(info.get("redis_version", "0"))
    named = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {number}"
    parts = tuple(int(part) for part in number.split(".")[:2] if part.isdigit())
    if parts < OLDEST:
        do = f"use Redis {'.'.join(map(str, OLDEST))} or later, or any Valkey"
        return Finding("server version", PROBLEM, f"{named} is too old", do)
    return Finding("server version", OK, named)


def _of_role(info: Mapping[str, Any]) -> Finding:
    if info.get("redis_mode") == "cluster":
        do = "use a server that is not part of a cluster: Celery's broker needs one primary"
        return Finding("server role", PROBLEM, "the server is part of a cluster", do)
    if info.get("role", "master") != "master":
        return Finding(
            "server role", PROBLEM, "the server is a replica, which takes no writes", "use its primary"
        )
    return Finding("server role", OK, "a primary")


def _of_eviction(info: Mapping[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Finding("eviction", OK, policy)
    if policy == "unknown":
        do = "ask whoever runs it: it must be noeviction"
        return Finding("eviction", ADVICE, "the server does not tell its policy", do)
    bounded = bool(int(info.get("maxmemory", 0) or 0))
    when = "when its memory is full" if bounded else "as soon as a bound on its memory is set"
    says = f"{policy}: the server throws away messages and runs {when}"
    return Finding("eviction", PROBLEM if bounded else ADVICE, says, "set maxmemory-policy noeviction")


def _of_persistence(info: Mapping[str, Any], config: Mapping[str, str] | None) -> Iterator[Finding]:
    if not int(info.get("aof_enabled", 0) or 0):
        says = "appendonly is off: whatever is queued or has run is lost or aged when the server restarts"
        yield Finding("persistence", PROBLEM, says, "set appendonly yes and appendfsync everysec")
        return
    sync = (config or {}).get("appendfsync")
    if sync is None:
        yield Finding("persistence", OK, "appendonly is on; how often it is synced the server does not tell")
    elif sync == "no":
        says = "appendfsync no: a crash of the machine loses what was not written yet, half a minute perhaps"
        yield Finding("persistence", ADVICE, says, "set appendfsync everysec")
    else:
        lost = ": a crash loses a second at most" if sync == "everysec" else ": a crash loses nothing"
        yield Finding("persistence", OK, f"appendfsync {sync}{lost}")


def _of_clock(facts: ServerFacts) -> Finding:
    skew = facts.skew_seconds
    if abs(skew) - facts.round_trip_seconds / 2 <= MOST_SKEW_SECONDS:
        return Finding("clock", OK, f"{abs(skew):.3f} s from the server's")
    ahead = "behind" if skew > 0 else "ahead of"
    says = f"this machine's clock is {abs(skew):.1f} s {ahead} the server's: due times are not kept"
    return Finding("clock", PROBLEM, says, "synchronise both, for example with chrony or systemd-timesyncd")
