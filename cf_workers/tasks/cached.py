"""Has this very call been answered before, or is somebody making it right now? Then it is not made again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import redis

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentReply
from cf_workers.answers import Answer, answer_of, keep, key_of
from cf_workers.cache import Alone, Cache, Failed, Follow, Hit, Lead, Ready
from cf_workers.errors import CfWorkersError, PermanentError, describe_error, restore_error
from cf_workers.tasks.answering import Answering, Caller, NotNow

log = logging.getLogger(__name__)

Wake = Callable[[Sequence[str]], None]
"""Lets parked steps go on at once, by the names under which they wait."""


class Cached:
    """Answers from the cache, and makes one call where many want the same at the same time.

    Args:
        namespace: whose answers are shared.
        wake: told whom to wake when a call has landed.
    """

    def __init__(self, inner: Answering, cache: Cache, *, namespace: str, wake: Wake) -> None:
        self._inner = inner
        self._cache = cache
        self._namespace = namespace
        self._wake = wake

    def ask(self, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Answer one call, from the cache if it can be.

        Raises:
            NotNow: the same call is under way elsewhere, or none may be made now and no stale answer is kept.
            ExecutionError: there is no usable reply.
        """
        if not caller.cacheable or not self._cache.policy.enabled:
            return self._inner.ask(call, caller, token)
        key = key_of(call, self._namespace)
        return self._hit(key) or self._stand(key, call, caller, token)

    def _stand(self, key: str, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        standing = self._cache.lead_or_follow(key, holder=caller.holder, waiter=caller.waiter)
        match standing:
            case Lead():
                return self._lead(standing, call, caller, token)
            case Follow():
                wait = max(0.0, standing.due - time.time())
                raise NotNow("the same call is under way", wait, waits=partial(self._cache.waits, standing))
            case Failed():
                raise restore_error(standing.failure)
            case Ready():
                return self._hit(key) or self._make(key, call, caller, token)
            case Alone():
                return self._make(key, call, caller, token)

    def _lead(self, lead: Lead, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        try:
            with self._cache.leading(lead):
                answer = self._make(lead.key, call, caller, token)
        except NotNow:
            self._cache.abandon(lead)  # who waits looks again by itself; nobody may call now anyway
            if stale := self._hit(lead.key, allow_stale=True):
                return stale
            raise
        except PermanentError as error:
            self._wake_up(self._cache.fail(lead, describe_error(error)))
            raise
        except BaseException:  # whatever it is, it is this leader's alone
            self._wake_up(self._cache.abandon(lead))
            raise
        if self._keep(lead.key, call, caller, answer.reply):
            self._wake_up(self._cache.complete(lead))
            return replace(answer, key=lead.key)
        self._wake_up(self._cache.disperse(lead))
        return answer

    def _make(self, key: str, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Make the call; only who does so has missed: a follower gets its answer in the end."""
        try:
            answer = self._inner.ask(call, caller, token)
        except CfWorkersError:
            self._cache.count_miss(key)
            raise
        self._cache.count_miss(key)
        return answer

    def _wake_up(self, waiters: Sequence[str]) -> None:
        """Who is not woken looks again by itself; an answer must not be lost over that."""
        try:
            self._wake(waiters)
        except redis.RedisError as error:
            log.warning("waiters.not_woken count=%d error=%s", len(waiters), type(error).__name__)

    def _keep(self, key: str, call: AgentCall, caller: Caller, reply: AgentReply) -> bool:
        return keep(self._cache, key, call, reply, workflow=caller.workflow)

    def _hit(self, key: str, *, allow_stale: bool = False) -> Answer | None:
        found = self._cache.lookup(key, allow_stale=allow_stale, count_miss=False)
        return answer_of(found, key) if isinstance(found, Hit) else None
