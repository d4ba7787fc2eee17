"""What of a call shapes its answer? Exactly what is sent to the model.

So the parts are taken from the request itself: the definition's and the contract's text, the task, the
outputs of earlier steps with their order and labels, the model, `max_tokens`, the effort, the output schema,
and the words that the prompt puts around all this. What is not sent does not count: the agent's name (in an
output's label it is sent), domains, priority, time-outs, retries, whether it is cacheable. Nor does what is
sent but only steers the provider's own prompt cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cf_workers.agents.definition import AgentCall
from cf_workers.agents.prompt import build_request


def call_parts(
    call: AgentCall, tools: Sequence[Mapping[str, Any]] = (), memory: str | None = None
) -> dict[str, Any]:
    """Everything that shapes the answer to a call, as JSON values: what a fingerprint is taken of.

    Args:
        tools: definitions of the tools offered with the call, in the order in which they are sent.
        memory: the block of memory shown to the agent.
    """
    request = build_request(call)
    system = [block["text"] for block in request.pop("system", [])]
    return {"request": request, "system": system, "tools": [dict(tool) for tool in tools], "memory": memory}
