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
from cf_workers.batches.ledger import Ledger, Row, Standing, Wish, key_of_mark
from cf_workers.batches.packer import Candidate, Packing, pack
from cf_workers.batches.packs import Pack, PackTable, custom_id
from cf_workers.batches.policy import API_MAX_BYTES, API_MAX_QUEUED_ROWS, API_MAX_ROWS, BatchPolicy

__all__ = [
    "API_MAX_BYTES",
    "API_MAX_QUEUED_ROWS",
    "API_MAX_ROWS",
    "BatchApi",
    "BatchPolicy",
    "Candidate",
    "Courier",
    "Desk",
    "Ledger",
    "NotTakenError",
    "Pack",
    "PackTable",
    "Packing",
    "RejectedError",
    "RemoteBatch",
    "Request",
    "Row",
    "RowResult",
    "Standing",
    "UnclearError",
    "Wish",
    "custom_id",
    "key_of_mark",
    "pack",
]
