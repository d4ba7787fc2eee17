"""What does a request to the Messages API ask, and is it well formed?"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cf_workers.simulator.models import Model
from cf_workers.simulator.problem import ApiProblem, invalid
from cf_workers.wire import canonical_json

NO_SAMPLING_SINCE = "2026-10-21"
SAMPLING = ("temperature", "top_p", "top_k")
FIELDS = frozenset(
    [
        *("model", "max_tokens", "messages", "system", "cache_control", "metadata", "service_tier"),
        *("inference_geo", "speed", "thinking", "output_config", "tools", "tool_choice", "stop_sequences"),
        *("stream", "container", "diagnostics", "user_profile_id", "workspace_id"),
    ]
)
"""Parameters of `messages.create` in anthropic 2.12; others need a beta header."""
MAX_MESSAGES = 100_000
LISTS = ("tools", "stop_sequences")
ROLES = ("user", "assistant", "system")
_TASK_TAG = re.compile(r"<task\b[^>]*>\s*(.*?)\s*</task>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Ask:
    """One request body, read."""

    body: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical body, in hexadecimal; whether it is streamed makes no difference."""
        shaping = {key: value for key, value in self.body.items() if key != "stream"}
        return hashlib.sha256(canonical_json(shaping).encode()).hexdigest()

    @property
    def model(self) -> str:
        return _word(self.body.get("model"))

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def max_tokens(self) -> int:
        value = self.body.get("max_tokens")
        return value if isinstance(value, int) else 0

    @cached_property
    def agent(self) -> str:
        """The first heading, or else the first line, of the first system block."""
        first = next(texts_of(self.body.get("system")), "")
        lines = [line.strip() for line in first.splitlines() if line.strip()]
        headings = [line.lstrip("#").strip() for line in lines if line.startswith("#")]
        return (headings or lines or ["Assistant"])[0][:80]

    @cached_property
    def user_text(self) -> str:
        """All that the last user turn says."""
        turns = self.body.get("messages")
        users = (
            [t for t in turns if isinstance(t, dict) and t.get("role") == "user"]
            if isinstance(turns, list)
            else []
        )
        return "\n".join(texts_of(users[-1].get("content"))) if users else ""

    @cached_property
    def task(self) -> str:
        """The text inside `<task>` where there is such a tag, else the whole last user turn."""
        tagged = _TASK_TAG.findall(self.user_text)
        return str(tagged[-1]) if tagged else self.user_text


def parsed(raw: bytes) -> Ask:
    """The body of a request.

    Raises:
        ApiProblem: it is not a JSON object.
    """
    try:
        body = json.loads(raw, parse_constant=_no_constant)
        if b"\\ud" in raw.lower():
            canonical_json(body).encode()  # half of a surrogate pair cannot be encoded
    except (ValueError, RecursionError):
        raise invalid("The request body is not valid JSON") from None
    if not isinstance(body, dict):
        raise invalid("The request body must be a JSON object")
    return Ask(body)


def checked(
    ask: Ask, models: Mapping[str, Model], version: str, *, beta: bool, counting: bool = False
) -> Model:
    """The model that will answer, for a request the API would accept.

    Args:
        version: value of the `anthropic-version` header.
        beta: whether an `anthropic-beta` header is present, which opens further parameters.
        counting: the request only counts tokens and needs no `max_tokens`.

    Raises:
        ApiProblem: what the API answers instead, 400 or 404.
    """
    _check_fields(ask.body, version, beta=beta)
    if not ask.model:
        raise invalid("model: Field required")
    if not counting:
        _check_max_tokens(ask)
    _check_messages(ask.body.get("messages"))
    for name in LISTS:
        if not isinstance(ask.body.get(name, []), list):
            raise invalid(f"{name}: Input should be a valid list")
    model = models.get(ask.model)
    if model is None or model.lifecycle == "retired":
        raise ApiProblem(404, f"model: {ask.model}")
    return model


def texts_of(content: Any) -> Iterator[str]:
    """The texts in a `content` or `system` value, which is a string or a list of blocks."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (
            block["text"]
            for block in content
            if isinstance(block, dict) and isinstance(block.get("text"), str)
        )


def _check_fields(body: Mapping[str, Any], version: str, *, beta: bool) -> None:
    if "thread" in body:
        raise invalid(
            "thread: not supported by this stand-in; send the whole history", "thread_unsupported_request"
        )
    unwanted = [name for name in SAMPLING if name in body] if version >= NO_SAMPLING_SINCE else []
    if not beta:
        unwanted += [name for name in body if name not in FIELDS and name not in SAMPLING]
    if unwanted:
        raise invalid(f"{unwanted[0]}: Extra inputs are not permitted")


def _check_max_tokens(ask: Ask) -> None:
    value = ask.body.get("max_tokens")
    if value is None:
        raise invalid("max_tokens: Field required")
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid("max_tokens: Input should be a valid integer")
    if value < 0 or (value == 0 and ask.stream):
        raise invalid(
            "max_tokens: Input should be greater than 0, or 0 without stream to warm the prompt cache"
        )


def _check_messages(messages: Any) -> None:
    if messages is None:
        raise invalid("messages: Field required")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    if len(messages) > MAX_MESSAGES:
        raise invalid(f"messages: at most {MAX_MESSAGES} messages are allowed")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise invalid(f"messages.{index}.role: Input should be 'user', 'assistant' or 'system'")
        if not message.get("content") or not isinstance(message["content"], str | list):
            raise invalid(f"messages.{index}: content must be a non-empty string or list")
    if messages[0]["role"] != "user":
        raise invalid("messages: first message must use the user role")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
