"""What crosses the broker and the store, and how is it written down?"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

WIRE_VERSION = 1
"""Version of messages and records. A process reads its own version and those below it."""


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, UTF-8 kept, no NaN.

    Raises:
        ValueError: the value holds NaN or an infinity.
        TypeError: the value is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Payload(BaseModel):
    """Base of everything that crosses the broker: frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


RUN_AGENT = "cf_workers.run_agent"
EXECUTE_STEP = "cf_workers.execute_step"
FINISH_RUN = "cf_workers.finish_run"
POLL_BATCHES = "cf_workers.poll_batches"
WARM_CACHE = "cf_workers.warm_cache"
"""Names of the tasks, fixed for good: Flower, routes and other people's canvases refer to them."""

CONTROL = "control"
INTERACTIVE = "interactive"
BATCH = "batch"
QUEUES = (CONTROL, INTERACTIVE, BATCH)
