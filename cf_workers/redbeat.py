"""How does one of several beats do all the work, and another take over when it dies? By RedBeat's lock.

`celery -A cf_workers beat -S cf_workers.redbeat:Scheduler`, with `pip install "cf-workers[redbeat]"`. The
schedules of the project need no lock to tick once; this is for fleets that keep further periodic tasks in
RedBeat. A beat that lost its lock ends, so something has to start it again.
"""

from __future__ import annotations

from redbeat import RedBeatScheduler

from cf_workers.beat import KeepsSchedules


class Scheduler(KeepsSchedules, RedBeatScheduler):
    """RedBeat's scheduler; of several beats only the one that holds the lock looks at the schedules."""
