"""When does a workflow run by itself? Cron arithmetic, the policies, and what a fleet of beats agrees on.

A tick is known by its schedule's name and the moment for which it was planned, so that any number of beats
start one run a tick.
"""

from cf_workers.schedules.cron import Cron, parse_cron
from cf_workers.schedules.every import Every, parse_interval
from cf_workers.schedules.ledger import Ledger, Standing
from cf_workers.schedules.spec import MISSED, OVERLAPS, Missed, Overlap, ScheduleSpec, Timing
from cf_workers.schedules.ticker import Ticked, Ticker, TickPolicy

__all__ = [
    "MISSED",
    "OVERLAPS",
    "Cron",
    "Every",
    "Ledger",
    "Missed",
    "Overlap",
    "ScheduleSpec",
    "Standing",
    "TickPolicy",
    "Ticked",
    "Ticker",
    "Timing",
    "parse_cron",
    "parse_interval",
]
