"""The worker's side: what Celery executes.

from cf_workers.tasks import run_agent
run_agent.delay("python-expert", "Explain decorators").get(timeout=120)
"""

from cf_workers.tasks.agent import run_agent
from cf_workers.tasks.app import app
from cf_workers.tasks.poll import poll_batches
from cf_workers.tasks.step import execute_step, finish_run
from cf_workers.tasks.warming import warm_cache

__all__ = ["app", "execute_step", "finish_run", "poll_batches", "run_agent", "warm_cache"]
