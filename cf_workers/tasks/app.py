"""The Celery application that the tasks belong to.

It is configured by `cf_workers.celery`, the composition root, when the first setting is needed: Celery imports
a configuration that is named by a string only then.
"""

from __future__ import annotations

from celery import Celery

app = Celery(
    "cf_workers",
    set_as_current=False,
    config_source="cf_workers.celery:configuration",
    include=["cf_workers.tasks"],
)
