"""Which broker do the stacks of tests use: their Redis server, or a RabbitMQ?

`CF_WORKERS_TEST_BROKER=amqp://guest:guest@127.0.0.1:5672` moves the messages to a RabbitMQ, which needs its
management plugin; runs, joins and results stay on Redis. Each stack has a virtual host of its own there. The
plugin listens on port 15672 unless `CF_WORKERS_TEST_BROKER_API=http://127.0.0.1:15672` says otherwise.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest
from kombu import Connection

from cf_workers.wire import QUEUES

URL = os.environ.get("CF_WORKERS_TEST_BROKER")
API = os.environ.get("CF_WORKERS_TEST_BROKER_API")
SETTING = "CF_WORKERS_BROKER_URL"


def redis_only(reason: str) -> pytest.MarkDecorator:
    """Skip a test of something that only a broker on Redis has, saying what it is."""
    return pytest.mark.skipif(URL is not None, reason=f"Redis as broker only: {reason}")


rabbitmq_only = pytest.mark.skipif(URL is None, reason="needs CF_WORKERS_TEST_BROKER=amqp://…")


@contextmanager
def own_broker() -> Iterator[dict[str, str]]:
    """The settings of a stack: none where Redis is the broker, else the URL of an empty virtual host."""
    if URL is None:
        yield {}
        return
    user, _ = _account()
    name = f"cfw-{uuid4().hex[:12]}"
    manage("PUT", f"vhosts/{name}")
    manage("PUT", f"permissions/{name}/{quote(user)}", {"configure": ".*", "write": ".*", "read": ".*"})
    try:
        yield {SETTING: f"{URL.rstrip('/')}/{name}"}
    finally:
        manage("DELETE", f"vhosts/{name}")


def messages_at(url: str) -> int:
    """Messages that wait at a RabbitMQ, or that a worker holds. The latter are known there with a delay."""
    found = manage("GET", f"queues/{_vhost(url)}")
    held = sum(queue.get("messages_unacknowledged", 0) for queue in found if queue["name"] in QUEUES)
    return held + sum(waiting_at(url, queue["name"]) for queue in found if queue["name"] in QUEUES)


def waiting_at(url: str, queue: str) -> int:
    """Messages that wait in a queue."""
    with Connection(url) as connection:
        try:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0


def cut_connections(url: str) -> int:
    """Close all connections to a virtual host, as a broken network would; how many there were."""
    found = manage("GET", f"vhosts/{_vhost(url)}/connections")
    for connection in found:
        manage("DELETE", f"connections/{quote(connection['name'], safe='')}")
    return len(found)


def manage(method: str, path: str, body: Any = None) -> Any:
    """Ask the management plugin."""
    user, password = _account()
    request = urllib.request.Request(
        f"{_api()}/api/{path}", json.dumps(body).encode() if body else None, method=method
    )
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            if method == "DELETE" and error.code == 404:
                return None
            raise
    return json.loads(said) if said else None


def _api() -> str:
    return (API or f"http://{urlsplit(URL or '').hostname}:15672").rstrip("/")


def _account() -> tuple[str, str]:
    parts = urlsplit(URL or "")
    return parts.username or "guest", parts.password or "guest"


def _vhost(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
