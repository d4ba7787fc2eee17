"""The task that submits, follows and collects message batches. It holds a slot only while it does so."""

from __future__ import annotations

from cf_workers.tasks import runtime as runtimes
from cf_workers.tasks.app import app
from cf_workers.wire import POLL_BATCHES


@app.task(name=POLL_BATCHES, ignore_result=True, acks_late=False)
def poll_batches() -> dict[str, int]:
    """Do what is due in the batch lane. Safe to send at any time; without beat the workers do so themselves.

    Returns:
        How many rows went where: `submitted`, `landed`, sent `again`, `returned` to the ordinary API, `held`.
    """
    batches = runtimes.current().batches
    return batches.poll() if batches is not None else {}
