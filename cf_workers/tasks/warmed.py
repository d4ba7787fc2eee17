"""Do calls with one prompt prefix start together? Then one goes first, and the others read what it wrote.

Only where it pays: the prefix is long enough to be kept by the provider, and reading instead of writing it
saves more than the wait for another reply's first word is worth.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import redis

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, Usage
from cf_workers.agents.models import model_facts
from cf_workers.agents.prices import cost_nanos
from cf_workers.answers import Answer
from cf_workers.prefixes import Cold, First, Prefixes, Wait, Warm
from cf_workers.prefixes.prefixes import prefix_digest
from cf_workers.tasks.answering import Answering, Caller, NotNow
from cf_workers.workflows.keyed_cache import KeyedCache

log = logging.getLogger(__name__)

_CHARACTERS_A_TOKEN = 4
"""A rough mean for English text; whether the provider keeps a prefix is learnt from its first reply."""
_LEAST_TOKENS = 1_024
"""For models whose minimum is not established: that of most of them."""
_PREFIXES_KNOWN = 512
_FRESH_SHARE = 0.25
"""Of the time for which a prefix stays readable: so often its use is told to the fleet."""


class Warmed:
    """Lets one call write a prefix before the others read it.

    Args:
        wake: told whom to wake when a prefix can be read.
        credential: a digest of the credential; prompt caches are not shared beyond it.
    """

    def __init__(
        self,
        inner: Answering,
        prefixes: Prefixes,
        *,
        credential: str,
        wake: Callable[[Sequence[str]], object],
    ) -> None:
        self._inner = inner
        self._prefixes = prefixes
        self._credential = credential
        self._wake = wake
        self._worth: KeyedCache[tuple[str, str, str | None], str | None] = KeyedCache(
            self._prefix_of, size=_PREFIXES_KNOWN
        )
        self._settled: dict[str, float] = {}

    def ask(self, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Answer one call, when its prefix can be read or it is the one that writes it.

        Raises:
            NotNow: another call writes the prefix.
            ExecutionError: there is no usable reply.
        """
        prefix = self._worth.get((call.model, call.agent.text, call.agent.contract))
        if prefix is None or caller.fail_fast or self._settled.get(prefix, 0.0) > time.monotonic():
            return self._inner.ask(call, caller, token)
        try:
            standing = self._prefixes.approach(prefix, holder=caller.holder, waiter=caller.waiter)
        except redis.RedisError as error:
            log.warning("prefix.unknown error=%s", type(error).__name__)
            return self._inner.ask(call, caller, token)
        match standing:
            case Wait():
                raise NotNow(
                    "another call is writing the agent's prompt to the provider's cache",
                    max(0.0, standing.due - time.time()),
                    waits=partial(self._prefixes.waits, standing),
                    well=True,
                )
            case First():
                return self._go_first(standing, call, caller, token)
            case Warm():
                return self._read(prefix, call, caller, token)
            case Cold():
                self._settle(prefix)
        return self._inner.ask(call, caller, token)

    def _read(self, prefix: str, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Make the call; every use lets the provider keep the prefix for longer."""
        answer = self._inner.ask(call, caller, token)
        if answer.reply.usage.cache_read_input_tokens:
            self._let_go_on(lambda: self._prefixes.begun(prefix))
            self._settle(prefix)
        return answer

    def _go_first(self, first: First, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        begun = False

        def began() -> None:
            nonlocal begun
            begun = True
            self._let_go_on(lambda: self._prefixes.begun(first.prefix))

        try:
            answer = self._inner.ask(call, replace(caller, began=began), token)
        except BaseException:  # however it ends, the others must not wait for it
            if not begun:
                self._let_go_on(lambda: self._prefixes.give_way(first))
            raise
        usage = answer.reply.usage
        if not usage.cache_creation_input_tokens and not usage.cache_read_input_tokens:
            self._let_go_on(lambda: self._prefixes.not_kept(first.prefix))
        elif not begun:
            self._let_go_on(lambda: self._prefixes.begun(first.prefix))
        self._settle(first.prefix)
        return answer

    def _let_go_on(self, tell: Callable[[], Sequence[str]]) -> None:
        """Who is not woken looks again by itself; a reply must not be lost over that."""
        try:
            if waiters := tell():
                self._wake(waiters)
        except redis.RedisError as error:
            log.warning("prefix.not_told error=%s", type(error).__name__)

    def _settle(self, prefix: str) -> None:
        """Ask the fleet no more about this prefix for a while, in which it stays as it is."""
        if len(self._settled) > _PREFIXES_KNOWN:
            now = time.monotonic()
            self._settled = {name: until for name, until in self._settled.items() if until > now}
        self._settled[prefix] = time.monotonic() + self._prefixes.policy.ttl_seconds * _FRESH_SHARE

    def _prefix_of(self, parts: tuple[str, str, str | None]) -> str | None:
        """The digest of a prefix that is worth a wait; `None` for one that is not."""
        policy = self._prefixes.policy
        model, text, contract = parts
        tokens = (len(text) + len(contract or "")) // _CHARACTERS_A_TOKEN
        if not policy.enabled or tokens < (model_facts(model).min_cacheable_tokens or _LEAST_TOKENS):
            return None
        written = cost_nanos(model, Usage(cache_creation_input_tokens=tokens))
        read = cost_nanos(model, Usage(cache_read_input_tokens=tokens))
        if written is None or read is None or written - read < policy.least_saving_nanos:
            return None
        return prefix_digest(self._credential, *(part or "" for part in parts))
