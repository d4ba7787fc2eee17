"""How does one of several beats do all the work, and another take over when it dies? By RedBeat's lock.

`celery -A cf_workers beat -S cf_workers.redbeat:Scheduler`, with `pip install "cf-workers[redbeat]"`. The
schedules of the project need no lock to tick once; this is for fleets that keep further periodic tasks in
RedBeat: a program that does so sets `redbeat_redis_url` of its application itself. A beat that lost its lock
ends, so something has to start it again.
"""

from __future__ import annotations

from typing import Any

from redbeat import RedBeatScheduler

from cf_workers.beat import KeepsSchedules


class Scheduler(KeepsSchedules, RedBeatScheduler):
    """RedBeat's scheduler; of several beats only the one that holds the lock looks at the schedules."""

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        # Not part of the configuration: `celery report` would print the password that is in it.
        if not app.conf.get("redbeat_redis_url"):
            app.conf.update(redbeat_redis_url=app.conf.result_backend)
        super().__init__(app, *args, **kwargs)
