"""How many tokens will a call take, and what will it cost, at most and about?

Nothing is asked of the provider for that. At most: every byte of the request is a token, since no token of a
byte-level encoding is shorter, and the answer is as long as it may be. About: four characters are a token,
and an answer takes a quarter of what it may. Where executions are on record, these are the better teachers.
"""

from __future__ import annotations

import json
from functools import lru_cache

from cf_workers.agents.definition import AgentCall, Usage
from cf_workers.agents.prices import cost_nanos
from cf_workers.agents.prompt import CacheTtl
from cf_workers.wire import canonical_json

CHARACTERS_A_TOKEN = 4
"""About, of English text and code; of bytes as many."""
ANSWER_SHARE = 0.25
"""About what an answer takes of the tokens that it may have."""

_FRAME_BYTES = 1500
"""What the prompt and the provider put around the texts: the preamble, marks, the shape of the request."""
_FRAME_BYTES_A_PART = 200


def most_input_tokens(call: AgentCall) -> int:
    """No request of this call has more tokens of input."""
    schema = canonical_json(call.agent.output_schema) if call.agent.output_schema else ""
    texts = [call.agent.text, call.agent.contract or "", call.task, schema, call.agent.effort or ""]
    for output in call.outputs:
        label = json.dumps([output.step, output.agent])
        texts += [label, label, output.output]  # before and after it
    frame = _FRAME_BYTES + _FRAME_BYTES_A_PART * (1 + len(call.outputs))
    return frame + sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def likely_input_tokens(call: AgentCall) -> int:
    """About how many tokens of input a request of this call has."""
    return most_input_tokens(call) // CHARACTERS_A_TOKEN


def likely_tokens(*texts: str | None) -> int:
    """About how many tokens texts have together."""
    return sum(len(text or "") for text in texts) // CHARACTERS_A_TOKEN


def most_nanos(call: AgentCall, *, cache_ttl: CacheTtl = "5m") -> int | None:
    """No request of this call costs more, in billionths of a dollar; `None` where the price is not known.

    Args:
        cache_ttl: for how long the provider is to keep the prompt, which is dearer than not to keep it.
    """
    return bound_nanos(call.model, most_input_tokens(call), call.max_tokens, cache_ttl=cache_ttl)


def likely_nanos(call: AgentCall) -> int | None:
    """About what a request of this call costs; `None` where the price is not known."""
    answer = round(ANSWER_SHARE * call.max_tokens)
    return cost_nanos(call.model, Usage(input_tokens=likely_input_tokens(call), output_tokens=answer))


def bound_nanos(
    model: str, input_tokens: int, output_tokens: int, *, cache_ttl: CacheTtl = "5m"
) -> int | None:
    """The price of so many tokens when all of the input is written to the provider's prompt cache."""
    writes = {f"cache_creation_{cache_ttl}_input_tokens": input_tokens}
    usage = Usage(cache_creation_input_tokens=input_tokens, output_tokens=output_tokens, **writes)
    return cost_nanos(model, usage)


@lru_cache(maxsize=256)
def is_priced(model: str) -> bool:
    """Whether it can be said what a call of this model costs at most."""
    return bound_nanos(model, 1, 1) is not None
