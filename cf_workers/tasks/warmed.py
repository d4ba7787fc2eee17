"""Do calls with one prompt prefix start together? Then one goes first, and the others read what it wrote.

Only where it pays: the prefix is long enough to be kept by the provider, and reading instead of writing it
saves more than the wait for another reply's first word is worth. Who waits does so in its slot while nobody
else wants that, and is parked otherwise.
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
from cf_workers.agents.estimate import likely_tokens
from cf_workers.agents.models import model_facts
from cf_workers.agents.prices import cost_nanos
from cf_workers.agents.verdict import cancelled
from cf_workers.answers import Answer
from cf_workers.prefixes import First, Prefixes, Standing, Wait, Warm
from cf_workers.prefixes.prefixes import prefix_digest
from cf_workers.tasks.answering import Answering, Caller, NotNow, Wake
from cf_workers.tasks.known_prompts import KnownPrompts, Prompt, prompt_of
from cf_workers.tasks.lobby import Lobby, News
from cf_workers.workflows.keyed_cache import KeyedCache

log = logging.getLogger(__name__)

_LEAST_TOKENS = 1_024
"""For models whose minimum is not established: that of most of them.

Whether the provider keeps a prefix is learnt from its first reply.
"""
_PREFIXES_KNOWN = 512
_LEAST_WAIT_SECONDS = 0.1
"""Even where the server's clock is behind this one's."""
_FRESH_SHARE = 0.25
"""Of the time for which a prefix stays readable: so often its use is told to the fleet."""


class Warmed:
    """Lets one call write a prefix before the others read it.

    Args:
        lobby: where calls wait that may keep their slots.
        prompts: what this process knows of them already.
        wake: told whom of the parked to wake when a prefix can be read.
        credential: a digest of the credential; prompt caches are not shared beyond it.
    """

    def __init__(
        self,
        inner: Answering,
        prefixes: Prefixes,
        lobby: Lobby,
        prompts: KnownPrompts,
        *,
        credential: str,
        wake: Wake,
    ) -> None:
        self._inner = inner
        self._prefixes = prefixes
        self._lobby = lobby
        self._prompts = prompts
        self._credential = credential
        self._wake = wake
        self._worth: KeyedCache[Prompt, str | None] = KeyedCache(self._prefix_of, size=_PREFIXES_KNOWN)

    def ask(self, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Answer one call, when its prefix can be read or it is the one that writes it.

        Raises:
            NotNow: another call writes the prefix, and others want the slot.
            ExecutionError: there is no usable reply.
        """
        prompt = prompt_of(call)
        prefix = self._worth.get(prompt)
        if prefix is None or caller.fail_fast or self._prompts.is_settled(prompt):
            return self._inner.ask(call, caller, token)
        try:
            standing = self._stand(prefix, caller, token)
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
            case Warm() | News.WARM:
                return self._read(prefix, call, caller, token)
            case _:
                self._settle(prompt)
        return self._inner.ask(call, caller, token)

    def _stand(self, prefix: str, caller: Caller, token: CancelToken) -> Standing | News:
        """How the call stands to its prefix, once it has waited in its slot for as long as that is right.

        Raises:
            CancelledError: the token was cancelled meanwhile; nothing was sent.
        """
        until = time.monotonic() + self._prefixes.policy.longest_seat_seconds
        news: News | None = None
        while news is not News.WANTED and time.monotonic() < until and self._lobby.open:
            standing = self._prefixes.approach(prefix, holder=caller.holder)
            if not isinstance(standing, Wait):
                return standing
            left = min(until - time.monotonic(), standing.due - time.time())
            news = self._lobby.wait(prefix, token, max(_LEAST_WAIT_SECONDS, left))
            if news is News.CANCELLED:
                raise cancelled(token.reason, sent=False)
            if news in {News.WARM, News.COLD}:
                return news
        return self._prefixes.approach(prefix, holder=caller.holder, waiter=caller.waiter)

    def _read(self, prefix: str, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Make the call; every use lets the provider keep the prefix for longer."""
        prompt = prompt_of(call)
        self._prompts.used(prompt)
        answer = self._inner.ask(call, caller, token)
        if answer.reply.usage.cache_read_input_tokens and not self._prompts.is_settled(prompt):
            self._settle(prompt)
            self._let_go_on(lambda: self._prefixes.begun(prefix))
        return answer

    def _go_first(self, first: First, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        begun = False
        started = time.monotonic()

        def began() -> None:
            nonlocal begun
            begun = True
            waited = time.monotonic() - started
            self._go_on(first.prefix)
            log.info("prefix.begun prefix=%.12s seconds=%.3f", first.prefix, waited)

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
            self._go_on(first.prefix)
        self._settle(prompt_of(call))
        return answer

    def _go_on(self, prefix: str) -> None:
        """Tell those who wait that the prefix can be read: here, elsewhere, and parked."""
        self._let_go_on(lambda: self._prefixes.begun(prefix))
        self._lobby.begun(prefix)

    def _let_go_on(self, tell: Callable[[], Sequence[str]]) -> None:
        """Who is not woken looks again by itself; a reply must not be lost over that."""
        try:
            if waiters := tell():
                self._wake(waiters)
        except redis.RedisError as error:
            log.warning("prefix.not_told error=%s", type(error).__name__)

    def _settle(self, prompt: Prompt) -> None:
        """Ask the fleet no more about this prompt for a while, in which it stays as it is."""
        self._prompts.settle(prompt, self._prefixes.policy.ttl_seconds * _FRESH_SHARE)

    def _prefix_of(self, prompt: Prompt) -> str | None:
        """The digest of a prefix that is worth a wait; `None` for one that is not."""
        policy = self._prefixes.policy
        tokens = likely_tokens(prompt.text, prompt.contract)
        if not policy.enabled or tokens < (model_facts(prompt.model).min_cacheable_tokens or _LEAST_TOKENS):
            return None
        written = cost_nanos(prompt.model, Usage(cache_creation_input_tokens=tokens))
        read = cost_nanos(prompt.model, Usage(cache_read_input_tokens=tokens))
        if written is None or read is None or written - read < policy.least_saving_nanos:
            return None
        return prefix_digest(self._credential, *(part or "" for part in prompt))
