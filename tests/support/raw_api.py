"""How does a test make an API that misbehaves byte by byte? With a socket and a script of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Script = Callable[["RawConnection"], None]


class RawConnection:
    """One connection to the raw API."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""

    def request(self) -> tuple[str, bytes] | None:
        """The next request line and body; `None` when the client has left."""
        while b"\r\n\r\n" not in self._buffer:
            if not (more := self._socket.recv(65536)):
                return None
            self._buffer += more
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        length = next(
            (int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0
        )
        while len(rest) < length:
            if not (more := self._socket.recv(65536)):
                return None
            rest += more
        self._buffer = rest[length:]
        return lines[0], rest[:length]

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer; anything but bytes is sent as JSON."""
        self.send(whole_answer(status, body, headers))

    def begin_stream(self) -> None:
        self.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_raw\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    def event(self, event: Mapping[str, Any]) -> None:
        """One event of a stream, as a chunk."""
        data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self) -> None:
        self.send(b"0\r\n\r\n")

    def until_the_client_leaves(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recv(65536):
                pass


def whole_answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content-type": "application/json", "request-id": "req_raw", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}content-length: {len(raw)}\r\n\r\n".encode() + raw


def message(text: str = "hello", **changes: Any) -> dict[str, Any]:
    """A finished message of the Messages API."""
    return {
        "id": "msg_raw",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {"input_tokens": 11, "output_tokens": 7, "service_tier": "standard"},
        **changes,
    }


def start_of_message(**changes: Any) -> dict[str, Any]:
    """The first event of a stream."""
    begun = message(content=[], stop_reason=None, usage={"input_tokens": 11, "output_tokens": 1})
    return {"type": "message_start", "message": {**begun, **changes}}


def events_of(blocks: Sequence[tuple[dict[str, Any], Sequence[dict[str, Any]]]]) -> Iterator[dict[str, Any]]:
    """The events of content blocks, each given as its start and its deltas."""
    for index, (block, deltas) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}


def end_of_message(stop_reason: str = "end_turn", **usage: Any) -> list[dict[str, Any]]:
    """The last two events of a stream."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7, **usage}},
        {"type": "message_stop"},
    ]


class RawApi:
    """A server that runs `script` once for each connection, in a thread, within a `with` block."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.connections = 0

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}"

    @property
    def open_connections(self) -> int:
        with self._lock:
            return len(self._open)

    def __enter__(self) -> RawApi:
        self._thread = threading.Thread(target=self._accept, name="raw-api", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(sock)
        served = sock
        try:
            if self._tls is not None:
                served = self._tls.wrap_socket(sock, server_side=True)
            self._script(RawConnection(served))
        except OSError:
            pass  # the client has left
        finally:
            with self._lock:
                self._open.discard(sock)
            served.close()
            sock.close()
