"""What did the SDK, or what is below it, mean by an exception?

Its classes are recognised by name, so that nothing here loads it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cf_workers.agents import verdict
from cf_workers.errors import CfWorkersError

_SDK = frozenset({"anthropic", "httpx2", "httpcore2", "h11"})
_OF_THE_SDK = ("anthropic.AnthropicError", "httpx2.HTTPError", "httpx2.InvalidURL")
_CANNOT_USE = ValueError | TypeError | LookupError | AttributeError | OSError


class StreamRefusalError(Exception):
    """An error event inside a stream; never leaves the provider."""

    def __init__(self, failure: verdict.StatusFailure) -> None:
        super().__init__()
        self.failure = failure


def judge(
    error: Exception, *, secrets: Sequence[str] = (), answered: bool = False, seconds: float | None = None
) -> Exception:
    """What an exception of the SDK, or from below it, means; one that is none of theirs is handed back.

    Args:
        secrets: texts of the request, which no message may quote.
        answered: whether the head of an answer had arrived.
        seconds: the time-out of the call.
    """
    chain = list(_causes(error))
    if ours := next((link for link in chain if isinstance(link, CfWorkersError)), None):
        return ours
    if isinstance(error, StreamRefusalError):
        return verdict.of_status(error.failure, secrets=secrets)
    if _is(error, "anthropic.APIStatusError"):
        return verdict.of_status(_status_failure(error), secrets=secrets)
    if _is(error, "anthropic.APIConnectionError", "httpx2.TransportError"):
        return _judge_break(chain, answered=answered, seconds=seconds)
    if isinstance(error, _CANNOT_USE) or _is(error, *_OF_THE_SDK):
        return _judge_use(error, answered=answered)
    return error


def _judge_break(chain: Sequence[BaseException], *, answered: bool, seconds: float | None) -> Exception:
    root = chain[-1]
    if isinstance(root, Exception) and _is_foreign(root):
        return root
    if any(_is(link, "httpx2.ConnectError", "httpx2.ConnectTimeout", "httpx2.ProxyError") for link in chain):
        # httpcore2 cuts the chain of causes, though not that of contexts.
        unknown_name = any(isinstance(link, socket.gaierror) for link in _contexts(root))
        return verdict.of_break("dns" if unknown_name else "connect")
    if any(_is(link, "httpx2.PoolTimeout") for link in chain):
        return verdict.of_break("pool")
    if any(_is(link, "httpx2.TimeoutException") for link in chain):
        return verdict.of_break("timeout", seconds=seconds)
    return verdict.of_break("in_reply" if answered else "before_reply")


def _judge_use(error: Exception, *, answered: bool) -> CfWorkersError:
    """The SDK, or our own reading, could not deal with what it was given."""
    if answered or _is(error, "anthropic.APIResponseValidationError"):
        return verdict.unreadable_reply(type(error).__name__)
    if _is(error, "anthropic.CredentialsError"):
        return verdict.unusable_credentials(type(error).__name__)
    if isinstance(error, TypeError) and "authentication method" in str(error):
        return verdict.missing_credentials()
    if "Streaming is required" in str(error):
        return verdict.unsendable(
            "max_tokens is too high for a call that is not streamed", "Lower max_tokens."
        )
    return verdict.unsendable(f"{type(error).__name__} at {_place(error)}")


def _status_failure(error: Any) -> verdict.StatusFailure:
    headers: Mapping[str, str] = error.response.headers
    return verdict.StatusFailure(
        status=error.status_code,
        type=error.type if isinstance(error.type, str) else None,
        error_code=error.error_code,
        message=error.api_message if isinstance(error.api_message, str) else None,
        request_id=error.request_id,
        headers=headers,
    )


def _is(error: BaseException, *names: str) -> bool:
    """Whether it is of one of these classes, each written as its package and its name."""
    return any(f"{_package(kind)}.{kind.__name__}" in names for kind in type(error).__mro__)


def _is_foreign(error: Exception) -> bool:
    """Whether it was thrown into the call from outside, as a soft time limit is."""
    return _package(type(error)) not in _SDK and not isinstance(error, OSError | RuntimeError)


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _contexts(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _place(error: BaseException) -> str:
    """File and line where it was raised; its text may hold pieces of the prompt."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
