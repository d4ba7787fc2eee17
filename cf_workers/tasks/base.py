"""How does a task try again? Through Celery's retry, with a wait and a count of our own.

The policy carries Celery's names, so `task_annotations` overrides it: `max_retries`, `retry_backoff`,
`retry_backoff_max`, `retry_jitter`. Neither `autoretry_for` nor `retry(max_retries=…)` is used: both keep
state on the task object that leaks from one request into the next (Celery 5.7).
"""

from __future__ import annotations

from typing import NoReturn

from celery import Task
from celery.exceptions import Retry

from cf_workers.errors import CfWorkersError, TransientError
from cf_workers.resilience.backoff import BackoffPolicy, wait_before

_SHOWN = ("argsrepr", "kwargsrepr")
"""What events show of a message; Celery would make it anew from the arguments."""


class AgentTask(Task):
    """Base of the tasks that ask a model."""

    abstract = True
    Request = "cf_workers.tasks.request:AgentRequest"
    resultrepr_maxsize = 60  # a result begins with its status; events and logs need no more of it
    max_retries = 3
    retry_backoff = 1.0
    retry_backoff_max = 60.0
    retry_jitter = True
    acks_late = True
    throws = (CfWorkersError,)

    def wait_after(self, error: TransientError, attempt: int) -> float:
        """Seconds between a failed attempt and the next one.

        Args:
            attempt: the number of the request that failed, from 1.
        """
        policy = BackoffPolicy(float(self.retry_backoff), float(self.retry_backoff_max), self.retry_jitter)
        return wait_before(attempt, policy, error.retry_after)

    def try_again(self, error: CfWorkersError, countdown: float) -> NoReturn:
        """Send this message again after `countdown` seconds, and end this delivery as RETRY.

        The message keeps its id, chord, links and group.

        Raises:
            Retry: always; Celery and Flower show it with the reason.
        """
        shown = {name: text for name in _SHOWN if (text := self.request.get(name))}
        again = self.signature_from_request(
            self.request, countdown=countdown, retries=self.request.retries + 1, **shown
        )
        again.apply_async()
        raise Retry(str(error), exc=error, when=countdown)
