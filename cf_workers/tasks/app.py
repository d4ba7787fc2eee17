"""The Celery application that the tasks belong to.

Celery reads a configuration that is named by a string when the first setting is needed, and not before.
"""

from __future__ import annotations

from celery import Celery

from cf_workers.reliability import install

app = Celery(
    "cf_workers",
    set_as_current=False,
    config_source="cf_workers.application:configuration",
    include=["cf_workers.tasks"],
)
install(app)
