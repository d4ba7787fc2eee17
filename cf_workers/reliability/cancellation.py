"""Has somebody asked this task to stop?

A thread cannot be killed, so a task is asked: it looks at its token between two pieces of work, or leaves a
callback with it that wakes whatever the task is blocked on, for instance by shutting a socket down.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from celery.exceptions import Ignore, Reject

log = logging.getLogger(__name__)

draining = threading.Event()
"""Set from the first request to stop this worker until the process ends: begin nothing long any more."""


class Reason(StrEnum):
    """Why a task is asked to stop."""

    REVOKED = "revoked"
    """Its result is no longer wanted: Celery has announced it as REVOKED and acknowledged its message."""

    DRAINING = "draining"
    """This worker stops at once: another one runs the task again."""


class Token:
    """The request to stop one task. Set once, never cleared; the first reason stays."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.reason: Reason | None = None
        self._event = threading.Event()
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep up to `timeout` seconds, or until asked to stop. True if asked."""
        return self._event.wait(timeout)

    def cancel(self, reason: Reason) -> bool:
        """Ask the task to stop and run its callbacks. False if it was asked before."""
        with self._lock:
            if self._event.is_set():
                return False
            self.reason = reason
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._call(callback)
        return True

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call back once when the task is asked to stop, at once if it was. Returns the way to undo it.

        The callback runs on the thread that cancels, so it must not block.
        """
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return lambda: self._forget(callback)
        self._call(callback)
        return lambda: None

    def _forget(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception:  # a broken callback must not keep the others, or a signal handler, from running
            log.exception("cancel callback failed task=%s", self.task_id)

    def __repr__(self) -> str:
        return f"<Token {self.task_id!r} {self.reason.value if self.reason else 'clear'}>"


_tokens: WeakValueDictionary[str, Token] = WeakValueDictionary()
_tokens_lock = threading.RLock()


def token_for(task_id: str) -> Token:
    """The one token of a task in this process, while anybody holds it; the pool does while it runs."""
    with _tokens_lock:
        token = _tokens.get(task_id)
        if token is None:
            token = _tokens[task_id] = Token(task_id)
        return token


def surrender(token: Token) -> Ignore | Reject:
    """What a Celery task raises when it gives way to its token.

    Revoked: Celery has recorded the outcome already, and nothing may be stored over it. Draining: the message
    goes back to its queue.
    """
    from celery.exceptions import Ignore, Reject

    if token.reason is Reason.REVOKED:
        return Ignore("revoked")
    return Reject("draining", requeue=True)
