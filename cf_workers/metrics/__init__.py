"""What does a monitoring system see? The fleet's state as Redis has it, and what a worker counts itself.

Names begin with `cf_workers_`; those of one worker process with `cf_workers_worker_`.
"""

from cf_workers.metrics.calls import CallMeter
from cf_workers.metrics.exposition import exposition
from cf_workers.metrics.fleet import CollectorPolicy, FleetCollector
from cf_workers.metrics.worker import WorkerCollector

__all__ = ["CallMeter", "CollectorPolicy", "FleetCollector", "WorkerCollector", "exposition"]
