"""What did the model say, and can it be used? Works on the JSON of the Messages API, whole or in events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cf_workers.agents import verdict
from cf_workers.agents.definition import AgentCall, AgentReply, Usage
from cf_workers.errors import RefusedError

RATE_LIMIT_PREFIX = "anthropic-ratelimit-"

_DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""The field in which an event of each kind carries its piece."""


def usage_of(message: Mapping[str, Any]) -> Usage:
    """The tokens that a message reports; what it leaves out counts as none."""
    reported = message.get("usage")
    usage: Mapping[str, Any] = reported if isinstance(reported, Mapping) else {}
    split = usage.get("cache_creation")
    writes: Mapping[str, Any] = split if isinstance(split, Mapping) else {}
    tools = usage.get("server_tool_use")
    return Usage(
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        cache_creation_input_tokens=_count(usage, "cache_creation_input_tokens"),
        cache_read_input_tokens=_count(usage, "cache_read_input_tokens"),
        cache_creation_5m_input_tokens=_count(writes, "ephemeral_5m_input_tokens"),
        cache_creation_1h_input_tokens=_count(writes, "ephemeral_1h_input_tokens"),
        web_search_requests=_count(tools if isinstance(tools, Mapping) else {}, "web_search_requests"),
        service_tier=_word(usage, "service_tier"),
        speed=_word(usage, "speed"),
        inference_geo=_word(usage, "inference_geo"),
    )


def text_of(message: Mapping[str, Any]) -> str:
    """The text blocks, joined; thinking and whatever else stands between them is left out."""
    return "".join(block.get("text") or "" for block in message["content"] if block.get("type") == "text")


def rate_limits_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The rate-limit headers of an answer, names without their prefix."""
    return {
        name.lower().removeprefix(RATE_LIMIT_PREFIX): value
        for name, value in headers.items()
        if name.lower().startswith(RATE_LIMIT_PREFIX)
    }


def event_failure(text: str, status: int, headers: Mapping[str, str]) -> verdict.StatusFailure:
    """What an error event inside a stream says."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    said: dict[str, Any] = error if isinstance(error, dict) else {}
    details = said.get("details")
    return verdict.StatusFailure(
        status=status,
        type=said.get("type"),
        error_code=details.get("error_code") if isinstance(details, dict) else None,
        message=said.get("message"),
        request_id=headers.get("request-id"),
        headers=headers,
    )


def message_of(body: Any) -> dict[str, Any]:
    """The body as a message.

    Raises:
        BadReplyError: it is something else.
    """
    blocks = body.get("content") if isinstance(body, dict) else None
    if (
        not isinstance(blocks, list)
        or not all(isinstance(block, dict) for block in blocks)
        or not isinstance(body.get("stop_reason"), str)
    ):
        raise verdict.bad_reply(
            "The API answered with something that is not a message.",
            kind="not_a_message",
            hint="Check ANTHROPIC_BASE_URL and whatever stands between the worker and the API.",
        )
    return dict(body)


def reply_of(
    message: Mapping[str, Any], call: AgentCall, *, text: str, usage: Usage, headers: Mapping[str, str]
) -> AgentReply:
    """The reply that a finished message is to this call.

    Args:
        text: of all turns of the reply, the last one included.
        usage: of all turns.
        headers: of the last answer.

    Raises:
        RefusedError: the model refused.
        BadReplyError: the reply asks for a tool that we do not offer, or does not fit the output schema.
    """
    reply = AgentReply(
        output=text,
        model=str(message.get("model") or call.model),
        usage=usage,
        stop_reason=message["stop_reason"],
        request_id=headers.get("request-id"),
        rate_limits=rate_limits_of(headers),
    )
    if reply.stop_reason == "refusal":
        raise _refusal(message, reply)
    if reply.stop_reason == "tool_use":
        raise verdict.bad_reply(
            "The model asked for a tool, and this agent has none.",
            kind="unexpected_tool_use",
            usage=usage.model_dump(),
            request_id=reply.request_id,
        )
    if call.agent.output_schema is not None and not _is_json(reply.output):
        raise _not_json(reply, call)
    return reply


def reply_of_row(message: Any, call: AgentCall) -> AgentReply:
    """The reply that a message fetched from a batch is to this call.

    Raises:
        RefusedError: the model refused.
        BadReplyError: it is no message, or cannot be used.
    """
    found = message_of(message)
    usage = usage_of(found)
    if found["stop_reason"] == "pause_turn":  # in a batch there is nobody to continue it
        raise verdict.bad_reply(
            "The model paused its turn in a batch.", kind="paused", usage=usage.model_dump()
        )
    return reply_of(found, call, text=text_of(found), usage=usage, headers={})


def _refusal(message: Mapping[str, Any], reply: AgentReply) -> RefusedError:
    stop_details = message.get("stop_details")
    category = stop_details.get("category") if isinstance(stop_details, Mapping) else None
    about = f" (category {category!r})" if category else ""
    return RefusedError(
        f"The model refused to answer{about}.",
        {
            "kind": "refusal",
            "category": category,
            "request_id": reply.request_id,
            "usage": reply.usage.model_dump(),
            "hint": "The same call would be refused again: change the task or use another model.",
        },
    )


def _not_json(reply: AgentReply, call: AgentCall) -> Exception:
    if reply.truncated:
        problem = (
            f"The reply was truncated ({reply.stop_reason}), so it is not the JSON of the output schema."
        )
        hint = f"Raise max_tokens of the agent; it is {call.max_tokens}."
    else:
        problem, hint = "The reply is not the JSON that the output schema asks for.", None
    return verdict.bad_reply(
        problem,
        kind="not_json",
        hint=hint,
        usage=reply.usage.model_dump(),
        truncated=reply.truncated,
        request_id=reply.request_id,
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _word(usage: Mapping[str, Any], name: str) -> str | None:
    value = usage.get(name)
    return value if isinstance(value, str) else None


class Assembly:
    """A message put together from the events of a stream."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self._pieces: dict[int, dict[str, list[str]]] = {}

    @property
    def complete(self) -> bool:
        """Whether the model said why it stopped; a stream that was cut never says so."""
        return self.message is not None and self.message.get("stop_reason") is not None

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take in one event; kinds that are unknown are passed over.

        Raises:
            KeyError, IndexError, TypeError, AttributeError: the event does not have the shape of its kind.
        """
        kind = event.get("type")
        if kind == "message_start":
            self.message = {**event["message"], "content": []}
        elif self.message is None:
            return
        elif kind == "content_block_start":
            self.message["content"].append(dict(event["content_block"]))
        elif kind == "content_block_delta":
            self._take_piece(event["index"], event["delta"])
        elif kind == "content_block_stop":
            self._finish_block(event["index"])
        elif kind == "message_delta":
            self._take_end(event)

    def usage(self) -> Usage:
        """What has been reported up to now, which is billed even if the rest never comes."""
        return usage_of(self.message or {})

    def _take_piece(self, index: int, delta: Mapping[str, Any]) -> None:
        kind = delta["type"]
        if kind == "citations_delta":
            block = self._block(index)
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif field := _DELTAS.get(kind):
            self._pieces.setdefault(index, {}).setdefault(field, []).append(delta[field])

    def _finish_block(self, index: int) -> None:
        block = self._block(index)
        for field, pieces in self._pieces.pop(index, {}).items():
            joined = "".join(pieces)
            if field == "partial_json":
                block["input"] = json.loads(joined) if joined else {}
            else:
                block[field] = (block.get(field) or "") + joined

    def _take_end(self, event: Mapping[str, Any]) -> None:
        assert self.message is not None  # noqa: S101
        self.message.update(event["delta"])
        # Cumulative counts: a later one replaces an earlier one.
        reported = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
        self.message["usage"] = {**(self.message.get("usage") or {}), **reported}

    def _block(self, index: int) -> dict[str, Any]:
        assert self.message is not None  # noqa: S101
        block: dict[str, Any] = self.message["content"][index]
        return block
