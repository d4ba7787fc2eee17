"""How is a reply told as server-sent events?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def json_of(value: Any) -> bytes:
    """A value as compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(kind: str, fields: Mapping[str, Any]) -> bytes:
    """One event; without its `event:` line the SDK would skip it."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json_of({"type": kind, **fields}))


def opening(message: Mapping[str, Any]) -> bytes:
    """`message_start`, with nothing said so far, and a ping."""
    start = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": {**message["usage"], "output_tokens": 1},
    }
    return event("message_start", {"message": start}) + PING


def pieces(message: Mapping[str, Any], chunks: int) -> list[bytes]:
    """The content, in about that many pieces; the first opens a block and the last one closes it."""
    return [piece for index, block in enumerate(message["content"]) for piece in _block(index, block, chunks)]


def closing(message: Mapping[str, Any]) -> bytes:
    """`message_delta` with the final usage, and `message_stop`."""
    delta = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")}
    usage = {
        key: value for key, value in message["usage"].items() if key not in ("service_tier", "cache_creation")
    }
    return event("message_delta", {"delta": delta, "usage": usage}) + event("message_stop", {})


def _block(index: int, block: Mapping[str, Any], chunks: int) -> list[bytes]:
    if block["type"] == "thinking":
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    else:
        empty = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": part} for part in _split(block["text"], chunks)]
    told = [event("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
    told[0] = event("content_block_start", {"index": index, "content_block": empty}) + told[0]
    told[-1] += event("content_block_stop", {"index": index})
    return told


def _split(text: str, chunks: int) -> Sequence[str]:
    size = max(1, -(-len(text) // chunks))
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]
