"""How is a model asked, once, so that the call ends in time, can be stopped, and fails in our own terms?

The only module that imports the provider's SDK, though `batch_api` names its types, and it does so when it is
first needed: that takes a second.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cf_workers.agents import verdict
from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentReply, Usage
from cf_workers.agents.diagnosis import StreamRefusalError, judge
from cf_workers.agents.flight import Flight, airborne
from cf_workers.agents.prompt import CacheTtl, build_request
from cf_workers.agents.reply import Assembly, event_failure, message_of, reply_of, text_of, usage_of
from cf_workers.errors import CfWorkersError, StreamCutError

if TYPE_CHECKING:
    import anthropic
    import httpx2

T = TypeVar("T")

_ONE_CLIENT_UP_TO = 100
_THREADS_PER_SHARD = 60
_MOST_SHARDS = 8


@dataclass(frozen=True)
class ProviderPolicy:
    """How calls are made.

    Args:
        threads: how many threads may call at once.
        shards: clients, each with a pool of its own; a pool's book-keeping grows with its connections.
            `None`: one up to 100 threads, then 4 to 8.
        connect_timeout_seconds: bound on resolving, connecting and the TLS handshake, each.
        keepalive_seconds: how long an idle connection is kept.
        stream_above_tokens: calls with a higher `max_tokens` are streamed; beyond this figure the API may
            hold an unstreamed connection silent for more than ten minutes.
        max_turns: how often a reply that pauses is continued, the first turn included.
        cache_ttl: how long the provider keeps system prompts in its prompt cache.
        base_url: where the API is; `None` leaves it to the SDK (ANTHROPIC_BASE_URL).
        api_key: `None` leaves it to the SDK (ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, profiles, federation).
    """

    threads: int = 100
    shards: int | None = None
    connect_timeout_seconds: float = 5.0
    keepalive_seconds: float = 60.0
    stream_above_tokens: int = 21_333
    max_turns: int = 5
    cache_ttl: CacheTtl = "5m"
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def clients(self) -> int:
        """How many clients a process has."""
        if self.shards is not None:
            return max(1, self.shards)
        if self.threads <= _ONE_CLIENT_UP_TO:
            return 1
        return min(_MOST_SHARDS, max(4, self.threads // _THREADS_PER_SHARD))


class _Turn(NamedTuple):
    message: dict[str, Any]
    headers: Mapping[str, str]


class AnthropicProvider:
    """Asks Claude, from any number of threads at once."""

    def __init__(self, policy: ProviderPolicy | None = None) -> None:
        self.policy = policy or ProviderPolicy()
        self._clients: list[anthropic.Anthropic] = []
        self._inherited: list[Any] = []
        self._reset()
        _providers.add(self)

    def warm(self) -> None:
        """Load the SDK and make the clients of this process, which takes about a second, once.

        Raises:
            CredentialsError: a configured profile or token file cannot be read.
            ConfigError: the environment names a proxy that cannot be used.
        """
        if self._clients:
            return
        with self._lock:
            if not self._clients:
                self._clients = _outcome(self._make_clients, judge)

    def ask(
        self,
        call: AgentCall,
        token: CancelToken | None = None,
        *,
        began: Callable[[], object] | None = None,
    ) -> AgentReply:
        """Ask once, and come back within `call.timeout_seconds` or soon after the token is cancelled.

        A reply that arrived whole is returned even if the token was cancelled meanwhile: it is paid for.

        Args:
            began: called once, by this thread, as soon as the reply begins; such a call is streamed.

        Raises:
            TransientError: the same call may succeed later; carries `retry_after` where the API said so.
            PermanentError: it would fail again.
            SpendLimitError: a spend limit is reached.
            CancelledError: the token was cancelled.
        """
        self.warm()
        if token is not None and token.cancelled:
            raise verdict.cancelled(token.reason)
        billed: list[Usage] = []
        flight = Flight(time.monotonic() + call.timeout_seconds)
        forget = token.on_cancel(lambda: flight.abort("cancelled")) if token is not None else None

        def judge_this(error: Exception) -> Exception:
            return _completed(_judge_call(error, call, flight, token), billed, flight)

        try:
            with airborne(flight):
                return _outcome(lambda: self._converse(call, flight, billed, began), judge_this)
        finally:
            if forget is not None:
                forget()

    def use(self, work: Callable[[anthropic.Anthropic], T], *, timeout_seconds: float | None = None) -> T:
        """Do something else than ask with one of the SDK's clients; what it raises is told in our own terms.

        Args:
            timeout_seconds: bound on all of it.

        Raises:
            ExecutionError: as `ask` does.
        """
        self.warm()
        if timeout_seconds is None:
            return _outcome(lambda: work(self._client()), judge)
        flight = Flight(time.monotonic() + timeout_seconds)

        def judge_this(error: Exception) -> Exception:
            if flight.aborted == "deadline":
                return verdict.of_break("timeout", seconds=timeout_seconds)
            return judge(error, answered=flight.answered)

        with airborne(flight):
            return _outcome(lambda: work(self._client()), judge_this)

    def close(self) -> None:
        """Close all connections of this process; the next call makes new ones."""
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()

    def _reset(self) -> None:
        """To the state before the first call; also in a forked child, which may share no lock or socket."""
        self._inherited.extend(self._clients)
        self._clients = []
        self._lock = threading.Lock()
        self._shard = threading.local()
        self._next_shard = itertools.count()

    def _make_clients(self) -> list[anthropic.Anthropic]:
        import anthropic
        import httpx2

        from cf_workers.agents.transport import InterruptibleTransport, proxy_for

        _keep_prompts_out_of_logs()
        policy = self.policy
        ssl_context = httpx2.create_ssl_context()
        timeout = self._timeout(600)
        clients = []
        for _ in range(policy.clients):
            transport = InterruptibleTransport(
                ssl_context, connections=policy.threads + 8, keepalive_seconds=policy.keepalive_seconds
            )
            client = anthropic.Anthropic(
                api_key=policy.api_key,
                base_url=policy.base_url,
                max_retries=0,
                timeout=timeout,
                open_telemetry=None if _is_traced() else False,
                http_client=anthropic.DefaultHttpxClient(transport=transport, timeout=timeout),
            )
            client.messages.with_raw_response  # noqa: B018  imports the resource, which takes half of a second
            clients.append(client)
        proxy_for(clients[0].base_url.scheme, clients[0].base_url.host)
        return clients

    def _client(self) -> anthropic.Anthropic:
        """Round robin by thread: thread identifiers are addresses, which share their low digits."""
        number = getattr(self._shard, "number", None)
        if number is None:
            number = self._shard.number = next(self._next_shard)
        clients = self._clients
        return clients[number % len(clients)]

    def _timeout(self, seconds: float) -> httpx2.Timeout:
        import httpx2

        # A backstop: the flight's deadline comes first.
        connect = self.policy.connect_timeout_seconds
        return httpx2.Timeout(seconds + 1, connect=connect, pool=connect)

    def _converse(
        self, call: AgentCall, flight: Flight, billed: list[Usage], began: Callable[[], object] | None
    ) -> AgentReply:
        request = build_request(call, cache_ttl=self.policy.cache_ttl)
        streamed = began is not None or call.max_tokens > self.policy.stream_above_tokens
        turn_once = partial(self._stream, began=_once(began)) if streamed else self._create
        timeout = self._timeout(call.timeout_seconds)
        text = ""
        for _ in range(self.policy.max_turns):
            flight.check()
            flight.answered, flight.request_id = False, None
            message, headers = turn_once(request, timeout, billed)
            text += text_of(message)
            if message["stop_reason"] != "pause_turn":
                usage = sum(billed[1:], billed[0])
                return reply_of(message, call, text=text, usage=usage, headers=headers)
            said = {"role": "assistant", "content": message["content"]}
            request = {**request, "messages": [*request["messages"], said]}
        raise verdict.bad_reply(
            f"The model paused its turn {self.policy.max_turns} times without coming to an end.",
            kind="paused",
        )

    def _create(self, request: dict[str, Any], timeout: httpx2.Timeout, billed: list[Usage]) -> _Turn:
        # Reading the JSON ourselves takes a fifth off the CPU time of a call with typed models.
        raw = self._client().messages.with_raw_response.create(**request, timeout=timeout)
        message = message_of(raw.http_response.json())
        billed.append(usage_of(message))
        return _Turn(message, raw.headers)

    def _stream(
        self,
        request: dict[str, Any],
        timeout: httpx2.Timeout,
        billed: list[Usage],
        *,
        began: Callable[[], object],
    ) -> _Turn:
        raw = self._client().messages.with_raw_response.create(**request, timeout=timeout, stream=True)
        assembly = Assembly()
        try:
            _assemble(raw.http_response, assembly, began)
        finally:
            raw.http_response.close()
            if assembly.message is not None:
                billed.append(assembly.usage())
        if not assembly.complete:
            raise verdict.of_break("in_reply")
        return _Turn(message_of(assembly.message), raw.headers)


_providers: weakref.WeakSet[AnthropicProvider] = weakref.WeakSet()


def _after_fork() -> None:
    for provider in list(_providers):
        provider._reset()


os.register_at_fork(after_in_child=_after_fork)


def _outcome(work: Callable[[], T], verdict_on: Callable[[Exception], Exception]) -> T:
    """The result of `work`, or the verdict on its failure, without the SDK's exception as cause or context.

    That exception holds the key and the prompt, and whoever logs or pickles an error takes its chain along.
    """
    try:
        return work()
    except Exception as error:  # noqa: BLE001  the border to the SDK: what it raises is judged, and raised anew
        failure = verdict_on(error)
    failure.__cause__ = failure.__context__ = None
    raise failure.with_traceback(None)


def _once(told: Callable[[], object] | None) -> Callable[[], object]:
    """A call that does something the first time only."""
    left = [] if told is None else [told]
    return lambda: left.pop()() if left else None


def _assemble(response: httpx2.Response, assembly: Assembly, began: Callable[[], object]) -> None:
    import anthropic

    for event in anthropic.Stream.raw_events(response):
        if event.event == "error":
            raise StreamRefusalError(event_failure(event.data, response.status_code, response.headers))
        if event.event is not None and event.event != "ping" and event.data:
            assembly.feed(event.json())
            began()


def _judge_call(error: Exception, call: AgentCall, flight: Flight, token: CancelToken | None) -> Exception:
    # A call that was stopped breaks its connection, so what the connection says comes last.
    if isinstance(error, CfWorkersError) and not isinstance(error, StreamCutError):
        return error
    if token is not None and token.cancelled:
        return verdict.cancelled(token.reason)
    if flight.aborted == "deadline":
        return verdict.of_break("timeout", seconds=call.timeout_seconds)
    outputs = [output.output for output in call.outputs]
    secrets = [call.task, call.agent.text, call.agent.contract or "", *outputs]
    return judge(error, secrets=secrets, answered=flight.answered, seconds=call.timeout_seconds)


def _completed(error: Exception, billed: Sequence[Usage], flight: Flight) -> Exception:
    """The error with what it cost and the id of the request, as far as known."""
    if not isinstance(error, CfWorkersError):
        return error
    details = error.details
    if billed:
        details.setdefault("usage", sum(billed[1:], billed[0]).model_dump())
    if flight.request_id is not None and details.get("request_id") is None:
        details["request_id"] = flight.request_id
    return type(error)(error.message, details)


def _keep_prompts_out_of_logs() -> None:
    """At DEBUG, at which a worker may run, the SDK logs whole requests; ANTHROPIC_LOG still asks for them."""
    if os.environ.get("ANTHROPIC_LOG"):
        return
    for name, level in (
        ("anthropic", logging.INFO),
        ("httpx2", logging.WARNING),
        ("httpcore2", logging.INFO),
    ):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(level)


def _is_traced() -> bool:
    """Whether somebody set up OpenTelemetry; the SDK's spans cost 0.3 ms a call even when nobody looks."""
    from opentelemetry import trace

    if "ANTHROPIC_OPEN_TELEMETRY" in os.environ:
        return True
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)
