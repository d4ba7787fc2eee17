"""Has this very call been answered before, or is somebody making it right now? Then it is not made again."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import redis

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentReply
from cf_workers.answers import Answer, answer_of, entry_of, key_of
from cf_workers.cache import Alone, Cache, Failed, Follow, Hit, Landed, Lead
from cf_workers.errors import CfWorkersError, PermanentError, describe_error, restore_error
from cf_workers.tasks.answering import Answering, Caller, NotNow, Wake

log = logging.getLogger(__name__)


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
        found = self._cache.seek(key, holder=caller.holder, waiter=caller.waiter)
        match found:
            case Hit():
                return answer_of(found, key)
            case Lead():
                return self._lead(found, call, caller, token)
            case Follow():
                wait = max(0.0, found.due - time.time())
                raise NotNow("the same call is under way", wait, waits=partial(self._cache.waits, found))
            case Failed():
                raise restore_error(found.failure)
            case Alone():
                return self._alone(key, call, caller, token)

    def _lead(self, lead: Lead, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        try:
            with self._cache.leading(lead):
                answer = self._inner.ask(call, caller, token)
        except NotNow as refusal:
            self._cache.abandon(lead)  # who waits looks again by itself; nobody may call now anyway
            if refusal.well:
                raise
            stale = self._cache.lookup(lead.key, allow_stale=True, count_miss=False)
            if isinstance(stale, Hit):
                return answer_of(stale, lead.key)
            raise
        except PermanentError as error:
            self._wake_up(self._cache.fail(lead, describe_error(error)))
            raise
        except CfWorkersError:
            self._wake_up(self._cache.abandon(lead, called=True))
            raise
        except BaseException:  # whatever it is, it is this leader's alone
            self._wake_up(self._cache.abandon(lead))
            raise
        if answer.instead_of is not None:  # what another model answered is no answer to this call
            self._wake_up(self._cache.disperse(lead))
            return answer
        landed = self._land(lead, call, caller, answer.reply)
        self._wake_up(landed.waiters)
        return replace(answer, key=lead.key) if landed.kept else answer

    def _alone(self, key: str, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Make the call for nobody else."""
        try:
            answer = self._inner.ask(call, caller, token)
        except CfWorkersError:
            self._cache.count_miss(key)
            raise
        self._cache.count_miss(key)
        return answer

    def _wake_up(self, waiters: Sequence[str]) -> None:
        """Who is not woken looks again by itself; an answer must not be lost over that."""
        if not waiters:
            return
        try:
            self._wake(waiters)
        except redis.RedisError as error:
            log.warning("waiters.not_woken count=%d error=%s", len(waiters), type(error).__name__)

    def _land(self, lead: Lead, call: AgentCall, caller: Caller, reply: AgentReply) -> Landed:
        entry = entry_of(call, reply, workflow=caller.workflow)
        if entry is None:
            return Landed(kept=False, waiters=self._cache.disperse(lead))
        return self._cache.complete(lead, entry.document, tags=entry.tags, cost_nanos=entry.cost_nanos)
