"""What does a failed call mean: try again, never again, or stop spending?

Works on the bare facts of a failure, which `provider` takes out of the SDK's exceptions. Those exceptions
hold the API key and the whole prompt, so nothing of them is kept: not the object, not as cause or context.
The tables follow https://platform.claude.com/docs/en/api/errors and the SDK's own `_should_retry`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz
from typing import Any, Literal

from cf_workers.errors import (
    BadReplyError,
    CallRejectedError,
    CallTimeoutError,
    CancelledError,
    ConnectionFailedError,
    CredentialsError,
    ExecutionError,
    OverloadedError,
    ProviderDownError,
    RateLimitedError,
    SpendLimitError,
    StreamCutError,
)

SPEND_LIMIT_CODES = frozenset(
    {
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
    }
)
_OWN_SPEND_LIMIT = re.compile(r"\s*You have reached your specified\b.*\busage limit", re.I | re.S)
_KEY = re.compile(r"\bsk-ant-[\w-]+|\bBearer\s+\S+", re.I)
_LONGEST_MESSAGE = 300
_QUOTE = 24
"""So many characters in a row that also stand in the prompt make a message a quotation of it."""

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What an error event inside a stream, which has the status 200, would have been as an answer. An unknown
type is taken as a rejection, an event without a type as a failure of the server."""

_OK, _REDIRECTS = 200, 300
_UNAUTHORIZED, _NEEDS_PAYMENT, _FORBIDDEN, _NOT_FOUND = 401, 402, 403, 404
_TOO_MANY, _SERVER_ERRORS, _NOT_IMPLEMENTED, _OVERLOADED = 429, 500, 501, 529

HINTS = {
    401: (
        "Check the key: it is read from ANTHROPIC_API_KEY, else ANTHROPIC_AUTH_TOKEN, in the environment of "
        "the worker process."
    ),
    402: "Check the billing of the organisation in the Claude Console.",
    403: "The key is known but may not do this: check its workspace and permissions in the Claude Console.",
    404: "Check the model id, and ANTHROPIC_BASE_URL if it is set.",
    413: "The request is larger than the API accepts (32 MB): shorten the task or the outputs it gets.",
    501: "Check ANTHROPIC_BASE_URL: the server there does not implement this call.",
}
_HINT_SPEND = "Raise the spend limit in the Claude Console, or wait for the period to end."
_HINT_CONNECT = "Check the network, the proxy settings and ANTHROPIC_BASE_URL."
_HINT_BETWEEN = "Check ANTHROPIC_BASE_URL and whatever stands between the worker and the API."
_HINT_TIMEOUT = "Raise timeout_seconds of the agent or the step, or lower max_tokens."

Break = Literal["dns", "connect", "pool", "before_reply", "in_reply", "timeout"]


@dataclass(frozen=True)
class StatusFailure:
    """An answer of the API that says no.

    Args:
        status: of the HTTP answer; 200 when the error came as an event inside a stream.
        type: `error.type` of the body, where it had one.
        error_code: `error.details.error_code` of the body, where it had one.
        message: `error.message` of the body; never the body itself, which may be anybody's HTML.
    """

    status: int
    type: str | None = None
    error_code: str | None = None
    message: str | None = None
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def of_status(
    failure: StatusFailure, *, secrets: Sequence[str] = (), now: float | None = None
) -> ExecutionError:
    """The verdict on an answer of the API.

    Args:
        secrets: texts of the request; a message that quotes one of them is withheld.
        now: Unix time, for `retry-after` given as a date.
    """
    status = failure.status
    if _OK <= status < _REDIRECTS:
        status = _STATUS_OF_TYPE.get(failure.type, 400) if failure.type else _SERVER_ERRORS
    details = _details(failure)
    said = _presentable(failure.message, secrets)
    if _says_spend_limit(failure):
        return SpendLimitError(
            f"The API refused the call because a spend limit is reached{said}",
            {**details, "kind": "spend_limit", "hint": _HINT_SPEND},
        )
    if not _may_pass(status, failure.headers):
        return _permanent(status, said, details)
    wait = retry_after(failure.headers, now=time.time() if now is None else now)
    return _transient(status, said, {**details, "retry_after": wait})


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds the API asks to wait: `retry-after-ms`, else `retry-after` as seconds or as an HTTP date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _positive(milliseconds / 1000)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return _positive(seconds)
    try:
        date = parsedate_tz(value) if value else None
        return _positive(mktime_tz(date) - now) if date else None
    except (ValueError, OverflowError):
        return None


def of_break(kind: Break, *, seconds: float | None = None) -> ExecutionError:
    """The verdict on a connection that could not be made, or broke.

    Args:
        kind: the phase in which it happened.
        seconds: the time-out that passed, if one did.
    """
    details: dict[str, Any] = {"kind": kind}
    within = "" if seconds is None else f" within {seconds:g} s"
    if kind == "timeout":
        message = f"The call was not answered{within}. It may have been billed all the same."
        return CallTimeoutError(message, {**details, "hint": _HINT_TIMEOUT})
    if kind == "in_reply":
        return StreamCutError("The reply broke off before it was complete. It may have been billed.", details)
    message = {
        "dns": f"The name of the API's host could not be resolved{within}.",
        "connect": f"The API could not be reached{within}.",
        "pool": f"No connection to the API became free{within}.",
        "before_reply": "The connection to the API broke before it answered. The call may have been billed.",
    }[kind]
    return ConnectionFailedError(message, {**details, "hint": _HINT_CONNECT})


def cancelled(reason: str | None, *, sent: bool = True) -> CancelledError:
    """The verdict on anything that fails after its token was cancelled.

    Args:
        sent: the call may have reached the provider by then.
    """
    details = {"kind": "cancelled", "reason": reason} | ({} if sent else {"sent": False})
    return CancelledError(f"The call was cancelled: {reason or 'no reason given'}.", details)


def missing_credentials() -> CredentialsError:
    """The verdict when there is no key at all; nothing was sent."""
    hint = (
        "Set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) in the environment of the worker process; "
        "to try without a key: `cf-workers simulate-api`."
    )
    return CredentialsError("There are no credentials for the API.", {"kind": "credentials", "hint": hint})


def unusable_credentials(problem: str) -> CredentialsError:
    """The verdict when a token file, profile or federation set-up cannot be used; nothing was sent."""
    hint = (
        "Set ANTHROPIC_API_KEY in the environment of the worker process, or check ANTHROPIC_PROFILE, "
        "ANTHROPIC_CONFIG_DIR and ANTHROPIC_IDENTITY_TOKEN_FILE there."
    )
    return CredentialsError(
        f"The credentials for the API cannot be loaded ({problem}).", {"kind": "credentials", "hint": hint}
    )


def unsendable(problem: str, hint: str | None = None) -> CallRejectedError:
    """The verdict when the SDK itself refuses the call; nothing was sent."""
    return CallRejectedError(
        f"The request cannot be sent ({problem}).",
        {"kind": "unsendable", "hint": hint or "Check the agent's settings."},
    )


def unreadable_reply(problem: str) -> BadReplyError:
    """The verdict when what came back is not even JSON of the right shape."""
    return bad_reply(
        f"The answer of the API cannot be read ({problem}).", kind="unreadable", hint=_HINT_BETWEEN
    )


def bad_reply(
    problem: str,
    *,
    kind: str = "bad_reply",
    hint: str | None = None,
    usage: Mapping[str, Any] | None = None,
    **more: Any,
) -> BadReplyError:
    """The verdict on a reply that arrived and cannot be used."""
    details: dict[str, Any] = {"kind": kind, "hint": hint, "usage": dict(usage) if usage else None, **more}
    return BadReplyError(problem, {name: value for name, value in details.items() if value is not None})


def _says_spend_limit(failure: StatusFailure) -> bool:
    if failure.error_code in SPEND_LIMIT_CODES:
        return True
    own = failure.type == "invalid_request_error" and failure.message is not None
    return own and _OWN_SPEND_LIMIT.match(failure.message or "") is not None


def _may_pass(status: int, headers: Mapping[str, str]) -> bool:
    word = headers.get("x-should-retry")
    if word in ("true", "false"):
        return word == "true"
    if status in (408, 409, _TOO_MANY):
        return True
    return status >= _SERVER_ERRORS and status != _NOT_IMPLEMENTED


def _transient(status: int, said: str, details: dict[str, Any]) -> ExecutionError:
    shown = {name: value for name, value in details.items() if value is not None}
    if status == _TOO_MANY:
        ramp = details["error_code"] == "ramp_limit_exceeded"
        hint = (
            "Lower the number of calls in flight."
            if ramp
            else "Lower the rate of calls, or raise the limits."
        )
        shown |= {"kind": "ramp_limit" if ramp else "rate_limit", "hint": hint}
        return RateLimitedError(f"The API's rate limit refused the call{said}", shown)
    if status == _OVERLOADED:
        return OverloadedError(f"The API is overloaded{said}", {**shown, "kind": "overloaded"})
    if status >= _SERVER_ERRORS or status in (408, 409):
        return ProviderDownError(
            f"The API failed with status {status}{said}", {**shown, "kind": "server_error"}
        )
    return ProviderDownError(
        f"The API answered with status {status} and asks to try again{said}",
        {**shown, "kind": "asked_to_retry"},
    )


def _permanent(status: int, said: str, details: dict[str, Any]) -> ExecutionError:
    shown = {name: value for name, value in details.items() if value is not None}
    if hint := HINTS.get(status):
        shown["hint"] = hint
    if status == _NEEDS_PAYMENT:
        return CredentialsError(
            f"The API refused the call for billing reasons{said}", {**shown, "kind": "billing"}
        )
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        word = "does not accept the credentials" if status == _UNAUTHORIZED else "does not permit this call"
        return CredentialsError(f"The API {word}{said}", {**shown, "kind": "credentials"})
    kind = "not_found" if status == _NOT_FOUND else "rejected"
    return CallRejectedError(
        f"The API rejected the request with status {status}{said}", {**shown, "kind": kind}
    )


def _details(failure: StatusFailure) -> dict[str, Any]:
    return {
        "status": failure.status,
        "type": failure.type,
        "error_code": failure.error_code,
        "request_id": failure.request_id,
    }


def _presentable(message: str | None, secrets: Sequence[str]) -> str:
    """What the API said, as the end of a sentence: one short line, without keys or pieces of the prompt."""
    if not message or not message.strip():
        return "."
    if any(_quotes(message, secret) for secret in secrets):
        return ". (Its message is withheld: it quotes the request.)"
    line = " ".join(_KEY.sub("[key]", message).split())
    shown = line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
    return f": {shown}"


def _quotes(message: str, secret: str) -> bool:
    head = message[: _LONGEST_MESSAGE * 2]
    if len(secret) < _QUOTE:
        return len(secret) >= _QUOTE // 3 and secret in head
    return any(head[start : start + _QUOTE] in secret for start in range(len(head) - _QUOTE + 1))


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None


def _positive(seconds: float) -> float | None:
    return seconds if seconds > 0 else None
