"""What goes wrong, for which requests, and how often?"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from cf_workers.errors import ConfigError

FaultKind = Literal[
    "status",
    "html",
    "reset",
    "hang",
    "slow_body",
    "stream_error",
    "stream_end",
    "stream_cut",
    "refusal",
    "pause_turn",
    "max_tokens",
    "empty",
    "thinking",
    "expired",
    "canceled",
    "lost_reply",
]

MESSAGES = "/v1/messages"
BATCHES = "/v1/messages/batches"
BATCH_ROW = "batch-row"
"""Stands for a path where a fault is meant for the rows inside batches."""
STATUSES = range(400, 600)
SERVER_ERRORS = 500
STRICT = ConfigDict(extra="forbid")

ERROR_TYPES = {
    400: ("invalid_request_error", "The request was invalid"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "There is a billing problem with this account"),
    403: ("permission_error", "This key has no access to the resource"),
    404: ("not_found_error", "Not found"),
    408: ("timeout_error", "Request timed out"),
    409: ("conflict_error", "Conflict"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    422: ("invalid_request_error", "The request cannot be processed"),
    429: ("rate_limit_error", "This request would exceed a rate limit"),
    500: ("api_error", "Internal server error"),
    503: ("api_error", "Service unavailable"),
    504: ("timeout_error", "Gateway timed out"),
    529: ("overloaded_error", "Overloaded"),
}
"""Error type and message by status, as the platform documents them."""


@dataclass(frozen=True, config=STRICT)
class Fault:
    """One way in which an answer is not the plain one.

    Args:
        kind: `status` answers an error; `html` a gateway's page; `reset`, `hang` and `slow_body` disturb
            the connection; `stream_*` break a reply after it began (`error` event, clean end, abrupt cut;
            a reply that is not streamed is cut short); `refusal`, `pause_turn`, `max_tokens`, `empty` and
            `thinking` shape the reply; `expired` and `canceled` are outcomes of a batch row; `lost_reply`
            makes a batch and resets the connection instead of saying so.
        retry_after: seconds, sent as a header; none is sent without it.
        should_retry: sent as `x-should-retry`.
        after: seconds to wait before the fault shows.
        seconds: how long a hang or a slow body lasts; a hang without it ends when the client goes away.
    """

    kind: FaultKind = "status"
    status: Annotated[int, Field(ge=400, le=599)] = 529
    error_type: str | None = None
    error_code: str | None = None
    message: str | None = None
    retry_after: Annotated[float, Field(ge=0)] | None = None
    should_retry: bool | None = None
    after: Annotated[float, Field(ge=0)] = 0.0
    seconds: Annotated[float, Field(ge=0)] | None = None

    @property
    def error(self) -> tuple[str, str]:
        """Type and message of the error body."""
        kind, text = ERROR_TYPES.get(
            self.status,
            ("api_error" if self.status >= SERVER_ERRORS else "invalid_request_error", "Simulated failure"),
        )
        return self.error_type or kind, self.message or text


NAMED = {
    "spend_limit": Fault(
        status=429,
        error_code="enforced_spend_limit_reached",
        message="You have reached your monthly spend limit",
        retry_after=None,
    ),
    "contract_spend_limit": Fault(
        status=429, error_code="contract_spend_limit_reached", message="The contract's spend limit is reached"
    ),
    "workspace_limit": Fault(
        status=400,
        message="You have reached your specified workspace API usage limits. Access returns later.",
    ),
    "ramp_limit": Fault(
        status=429,
        error_code="ramp_limit_exceeded",
        message="Your usage grew too sharply; please ramp up more slowly",
        retry_after=1,
    ),
    "429": Fault(status=429, retry_after=1),
    "html": Fault(kind="html", status=502),
}
"""Faults that a name says best; every kind and every status is a name as well."""


def fault_named(name: str) -> Fault:
    """The fault of that name: one of `NAMED`, a kind such as `reset`, or a status such as `529`.

    Raises:
        ConfigError: there is no such fault.
    """
    if name in NAMED:
        return NAMED[name]
    if name in FaultKind.__args__ and name != "status":  # type: ignore[attr-defined]
        return Fault(kind=name)  # type: ignore[arg-type]
    if name.isdigit() and int(name) in STATUSES:
        return Fault(status=int(name))
    kinds = [kind for kind in FaultKind.__args__ if kind != "status"]  # type: ignore[attr-defined]
    raise ConfigError(
        f"There is no fault {name!r}",
        {"hint": f"use a status (400 to 599) or one of {', '.join(sorted({*NAMED, *kinds}))}"},
    )


def _fault_or_name(value: Any) -> Any:
    try:
        return fault_named(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(f"{error}; {error.hint}") from None


FaultSpelling = Annotated[Fault, BeforeValidator(_fault_or_name)]


@dataclass(frozen=True, config=STRICT)
class RandomFault:
    """A fault that strikes a share of the requests."""

    fault: FaultSpelling
    rate: Annotated[float, Field(ge=0, le=1)]
    path: str = MESSAGES


@dataclass(frozen=True, config=STRICT)
class ScriptedFault:
    """A fault for the next matching requests.

    Args:
        times: how many matching requests get it; `None` means all until the script changes.
        skip: how many matching requests pass first.
        contains: a substring of the request's body, as sent.
        agent: a part of the agent's heading, in any case.
        path: the endpoint; `/v1/messages/batches` means every call about batches (`contains` then looks into
            its method and path), `batch-row` the rows inside them.
    """

    fault: FaultSpelling
    times: Annotated[int, Field(ge=1)] | None = 1
    skip: Annotated[int, Field(ge=0)] = 0
    contains: str | None = None
    model: str | None = None
    agent: str | None = None
    path: str = MESSAGES

    def matches(self, seen: Traits) -> bool:
        return (
            self.path == seen.path
            and (self.model is None or self.model == seen.model)
            and (self.agent is None or self.agent.casefold() in seen.agent.casefold())
            and (self.contains is None or self.contains in seen.text)
        )


@plain_dataclass(frozen=True)
class Traits:
    """What a script can match in a request."""

    path: str
    model: str = ""
    agent: str = ""
    text: str = ""


class FaultPlan:
    """Decides for each request which fault it meets: the script in its order first, then chance."""

    def __init__(self, chance: Sequence[RandomFault] = (), seed: int = 0) -> None:
        self._script: list[ScriptedFault] = []
        self._chance = tuple(chance)
        self._random = random.Random(seed)  # noqa: S311 - a repeatable dice, not a secret

    def script(self, faults: Iterable[ScriptedFault]) -> None:
        """Put faults at the end of the script."""
        self._script.extend(faults)

    def clear(self) -> None:
        """Empty the script."""
        self._script.clear()

    def pending(self) -> list[ScriptedFault]:
        """What is left of the script."""
        return list(self._script)

    def pick(self, seen: Traits) -> Fault | None:
        """The fault this request meets, which uses it up."""
        for index, entry in enumerate(self._script):
            if entry.matches(seen):
                return self._use(index, entry)
        return self._roll(seen.path)

    def _use(self, index: int, entry: ScriptedFault) -> Fault | None:
        if entry.skip:
            self._script[index] = replace(entry, skip=entry.skip - 1)
            return None
        if entry.times == 1:
            del self._script[index]
        elif entry.times is not None:
            self._script[index] = replace(entry, times=entry.times - 1)
        return entry.fault

    def _roll(self, path: str) -> Fault | None:
        for entry in self._chance:
            if entry.path == path and self._random.random() < entry.rate:
                return entry.fault
        return None
