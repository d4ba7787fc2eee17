"""Which calls can wait, go out together, and cost half? The batch lane: rows, packs, and who carries them.

This room stands alone: it knows neither agents nor workflows, only calls by fingerprint and who waits.
"""

from cf_workers.batches.api import (
    BatchApi,
    NotTakenError,
    RejectedError,
    RemoteBatch,
    Request,
    RowResult,
    UnclearError,
)
from cf_workers.batches.courier import Courier, Desk
from cf_workers.batches.packer import Candidate, Packing, pack
from cf_workers.batches.packs import Pack, PackTable, custom_id
from cf_workers.batches.policy import API_MAX_BYTES, API_MAX_QUEUED_ROWS, API_MAX_ROWS, BatchPolicy
from cf_workers.batches.rows import Row, RowTable, Standing, Wish, key_of_mark

__all__ = [
    "API_MAX_BYTES",
    "API_MAX_QUEUED_ROWS",
    "API_MAX_ROWS",
    "BatchApi",
    "BatchPolicy",
    "Candidate",
    "Courier",
    "Desk",
    "NotTakenError",
    "Pack",
    "PackTable",
    "Packing",
    "RejectedError",
    "RemoteBatch",
    "Request",
    "Row",
    "RowResult",
    "RowTable",
    "Standing",
    "UnclearError",
    "Wish",
    "custom_id",
    "key_of_mark",
    "pack",
]
