"""How does one HTTP answer travel: whole, in pieces, broken or never?"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Mapping
from http.client import responses
from typing import Any, cast
from urllib.parse import parse_qs

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
REASONS = {**responses, 529: "Overloaded"}
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Exchange:
    """A request, and the ways to answer it."""

    def __init__(self, request: HTTPServerRequest) -> None:
        self._connection = cast(HTTP1Connection, request.connection)
        self._common: dict[str, str] = {}
        self.method = request.method or ""
        self.path = request.path
        self.headers = request.headers
        self.body = request.body
        self.host = request.host
        self._query = request.query
        self._connection.stream.set_nodelay(True)

    def identify(self, request_id: str) -> None:
        """Send this id and the account's with the answer, as the API does."""
        self._common = {
            "request-id": request_id,
            "anthropic-organization-id": "org_simulated",
            "anthropic-workspace-id": "wrkspc_simulated",
        }

    def query(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        return parse_qs(self._query).get(name, [default])[-1]

    def when_client_leaves(self, callback: Callable[[], None]) -> None:
        """Call back when the client closes the connection before the answer has ended."""
        self._connection.set_close_callback(callback)

    async def answer(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, content_type: str = JSON
    ) -> None:
        """Send a whole answer; header and body leave in one segment."""
        await self._open(status, {**(headers or {}), "Content-Length": str(len(body))}, content_type, body)
        self.finish()

    async def answer_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a JSON value."""
        await self.answer(
            status, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), headers
        )

    async def promise(self, length: int, headers: Mapping[str, str], first: bytes) -> None:
        """Send the header of a body of that length, and its beginning."""
        await self._open(200, {**headers, "Content-Length": str(length)}, JSON, first)

    async def open_stream(self, headers: Mapping[str, str], first: bytes) -> None:
        """Begin a stream of events."""
        await self._open(200, {**headers, "Cache-Control": "no-cache"}, EVENTS, first)

    async def write(self, chunk: bytes) -> None:
        """Send more of a body or stream; waits until the client takes it."""
        await self._connection.write(chunk)

    def finish(self) -> None:
        """The answer is complete; the connection stays open for the next request."""
        self._connection.finish()

    def reset(self) -> None:
        """Break the connection so that the client sees "connection reset"."""
        stream = self._connection.stream
        if stream.socket is not None:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.cut()

    def cut(self) -> None:
        """Close the connection without completing the answer."""
        self._connection.set_close_callback(None)
        self._connection.close()

    async def _open(self, status: int, headers: Mapping[str, str], content_type: str, first: bytes) -> None:
        lines = HTTPHeaders({"Content-Type": content_type, **self._common, **headers})
        start = ResponseStartLine("HTTP/1.1", status, REASONS.get(status, "Unknown"))
        await self._connection.write_headers(start, lines, first)
