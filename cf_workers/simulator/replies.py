"""What does the stand-in answer? Always the same to the same request, and recognisably made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cf_workers.simulator.ask import Ask
from cf_workers.simulator.directives import without_directives
from cf_workers.simulator.problem import invalid
from cf_workers.simulator.prompt_cache import CHARACTERS_PER_TOKEN, PromptUsage, tokens_in
from cf_workers.simulator.schema_reply import example_of
from cf_workers.wire import canonical_json

SHAPES = frozenset({"refusal", "pause_turn", "max_tokens", "empty", "thinking"})
"""Kinds of fault that shape a reply instead of failing it."""

OBSERVATIONS = (
    "The structure is clear; two names could say more.",
    "One edge case is not covered: empty input.",
    "Errors are raised early, and their messages name the cause.",
    "A shared fixture would halve the set-up of the tests.",
    "The slow path is taken once per request and could be cached.",
    "Input is checked at the border, so the core stays simple.",
    "One dependency can be dropped without loss.",
    "The documentation matches the behaviour in three places out of four.",
)
SUGGESTIONS = (
    "start with the smallest change and measure it.",
    "write the failing test first.",
    "split the longest function in two.",
    "agree on the interface before the implementation.",
    "log the decision next to the code.",
    "remove what nobody calls any more.",
)
FILLER = "Simulated text goes on here so that the reply has the length that was asked for. "


@dataclass(frozen=True)
class Reply:
    """The content of one answer and what it cost to produce."""

    content: tuple[dict[str, Any], ...]
    stop_reason: str
    output_tokens: int
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None

    def message(
        self, message_id: str, model: str, prompt: PromptUsage, tier: str = "standard"
    ) -> dict[str, Any]:
        """The reply as the Messages API spells it."""
        return {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": list(self.content),
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "stop_details": self.stop_details,
            "container": None,
            "usage": usage_of(prompt, self.output_tokens, tier),
        }


def usage_of(prompt: PromptUsage, output_tokens: int, tier: str) -> dict[str, Any]:
    """The `usage` object."""
    return {
        "input_tokens": prompt.uncached,
        "cache_creation_input_tokens": prompt.written,
        "cache_read_input_tokens": prompt.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": prompt.written_5m,
            "ephemeral_1h_input_tokens": prompt.written_1h,
        },
        "output_tokens": output_tokens,
        "service_tier": tier,
    }


def compose(ask: Ask, length: int | None = None, shape: str | None = None) -> Reply:
    """The reply to a request.

    Args:
        length: tokens that the text should have; `None` leaves it as short as it is.
        shape: one of `SHAPES`, or `None` for an ordinary answer.

    Raises:
        ApiProblem: the schema that the reply shall fit is none.
    """
    if ask.max_tokens == 0:
        return Reply((), "max_tokens", 0)
    if shape == "refusal":
        details = {"type": "refusal", "category": "general_harms", "explanation": "Simulated refusal."}
        return Reply((), "refusal", 0, stop_details=details)
    if shape == "empty":
        return Reply((), "end_turn", 1)
    text = _structured(ask) or _lengthened(_prose(ask), length)
    if shape == "max_tokens":
        return _bounded(text, min(ask.max_tokens, max(1, tokens_in(text) // 2)))
    if shape == "thinking":
        return _thinking_first(ask, text)
    reply = _stopped(ask, text) or _bounded(text, ask.max_tokens)
    if shape == "pause_turn":
        return Reply(reply.content, "pause_turn", reply.output_tokens)
    return reply


def _prose(ask: Ask) -> str:
    number = int(ask.digest[:8], 16)
    task = without_directives(ask.task)
    first = next((line.strip() for line in task.splitlines() if line.strip()), "(no task)")
    return "\n".join(
        [
            f"## {ask.agent}: simulated reply",
            "",
            "_Simulated by cf_workers: no model was asked and nothing was paid._",
            "",
            f"- **Task** ({len(task)} characters): {first[:100]}",
            f"- {OBSERVATIONS[number % len(OBSERVATIONS)]}",
            f"- Next: {SUGGESTIONS[number // 8 % len(SUGGESTIONS)]}",
            f"- Request `{ask.digest[:12]}`",
        ]
    )


def _structured(ask: Ask) -> str | None:
    """JSON that fits the schema, where the request demands one."""
    config = ask.body.get("output_config")
    wanted = config.get("format") if isinstance(config, Mapping) else None
    if not isinstance(wanted, Mapping) or wanted.get("type") != "json_schema":
        return None
    try:
        value = example_of(wanted.get("schema"), f"Simulated by cf_workers for request {ask.digest[:12]}")
    except ValueError as error:
        raise invalid(f"output_config.format.schema: {error}") from None
    return canonical_json(value)


def _lengthened(text: str, length: int | None) -> str:
    if length is None:
        return text
    missing = length * CHARACTERS_PER_TOKEN - len(text)
    return f"{text}\n\n{FILLER * (missing // len(FILLER) + 1)}"[: length * CHARACTERS_PER_TOKEN]


def _bounded(text: str, max_tokens: int) -> Reply:
    tokens = tokens_in(text)
    if tokens <= max_tokens:
        return Reply((_text(text),), "end_turn", tokens)
    return Reply((_text(text[: max_tokens * CHARACTERS_PER_TOKEN]),), "max_tokens", max_tokens)


def _stopped(ask: Ask, text: str) -> Reply | None:
    """The reply cut at a stop sequence, where one occurs before the token limit."""
    sequences = ask.body.get("stop_sequences") or ()
    hits = [(text.index(stop), stop) for stop in sequences if isinstance(stop, str) and stop and stop in text]
    if not hits:
        return None
    end, stop = min(hits)
    if tokens_in(text[:end]) > ask.max_tokens:
        return None
    return Reply((_text(text[:end]),), "stop_sequence", tokens_in(text[:end]), stop_sequence=stop)


def _thinking_first(ask: Ask, text: str) -> Reply:
    thought = f"Simulated thinking about request {ask.digest[:12]}."
    answer = _bounded(text, max(1, ask.max_tokens - tokens_in(thought)))
    block = {"type": "thinking", "thinking": thought, "signature": ask.digest[:32]}
    return Reply((block, *answer.content), answer.stop_reason, answer.output_tokens + tokens_in(thought))


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
