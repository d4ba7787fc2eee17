"""How are metrics written down for whoever scrapes them?"""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


def exposition(registry: CollectorRegistry, accept: str = "") -> tuple[str, bytes]:
    """The content type and the text of all metrics.

    Args:
        accept: the header of the request; the plain text format unless it asks for OpenMetrics.
    """
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)
