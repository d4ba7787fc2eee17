"""How are batches packed, submitted and followed?"""

from __future__ import annotations

from dataclasses import dataclass

API_MAX_ROWS = 100_000
API_MAX_BYTES = 256_000_000
"""What a batch may hold; an entry of it ends within 24 hours, or expires.
https://platform.claude.com/docs/en/build-with-claude/batch-processing"""
API_MAX_QUEUED_ROWS = 200_000
"""Rows that an organisation of the lowest tier may have in processing.
https://platform.claude.com/docs/en/api/rate-limits"""


@dataclass(frozen=True)
class BatchPolicy:
    """How the batch lane works.

    Args:
        enabled: false asks every step through the ordinary API.
        linger_seconds: how long a row waits for others before a batch is made that is not full.
        max_rows: of one batch; the API takes 100 000.
        max_bytes: of one batch's requests; the API takes 256 MB. A worker holds them in memory several times
            over while it submits them.
        max_queued_rows: of all batches that have not ended.
        poll_seconds: between two looks at a batch.
        max_sends: a row that expired or failed in passing so often is asked through the ordinary API.
        auto_slack_seconds: a step of the lane `auto` goes into a batch if its run's deadline leaves so much.
            Most batches end within an hour.
        rescue_margin_seconds: time kept, beside the critical path, when a row is taken back for a deadline.
        relook_seconds: how often a step that waits for its row looks by itself, in case it was not woken.
        shared_prefix_rows: from so many rows of a batch with the same agent on, the provider is asked to keep
            the agent's definition in its prompt cache, for an hour; for fewer, writing it costs more than
            reading it spares.
        submit_timeout_seconds: bound on submitting a batch, from the first byte sent.
        settle_seconds: how long after that bound a batch whose submission was not answered may still appear.
        skew_seconds: how far the provider's clock may differ from the server's.
        busy_seconds: until the next look after the API refused or failed.
        results_seconds: how long an answer is kept for the steps that wait for it.
        lease_seconds: a poller that has not renewed its lease for so long is dead.
    """

    enabled: bool = True
    linger_seconds: float = 60.0
    max_rows: int = 10_000
    max_bytes: int = 64_000_000
    max_queued_rows: int = API_MAX_QUEUED_ROWS
    poll_seconds: float = 30.0
    max_sends: int = 3
    auto_slack_seconds: float = 3600.0
    rescue_margin_seconds: float = 60.0
    relook_seconds: float = 3600.0
    shared_prefix_rows: int = 10
    submit_timeout_seconds: float = 300.0
    settle_seconds: float = 60.0
    skew_seconds: float = 60.0
    busy_seconds: float = 15.0
    results_seconds: float = 7 * 86_400.0
    lease_seconds: float = 8.0
