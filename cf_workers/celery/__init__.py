"""The composition root of a worker: settings become policies, policies collaborators, once per process.

`celery -A cf_workers worker` finds the application here.
"""

from cf_workers.celery import signals as signals  # connects to Celery's
from cf_workers.celery.building import build_runtime
from cf_workers.flower import install as install_flower
from cf_workers.tasks import runtime
from cf_workers.tasks.app import app

__all__ = ["app"]

runtime.install(build_runtime)
install_flower()
