"""Is there an answer already, or is somebody else about to get it? One response cache for the whole fleet.

This room stands alone: it keeps opaque JSON documents under fingerprints, and knows neither agents nor
workflows.
"""

from cf_workers.cache.cache import Cache, Miss
from cf_workers.cache.fingerprint import fingerprint
from cf_workers.cache.policy import CachePolicy, cacheable_reply
from cf_workers.cache.secret import GivenSecret, SecretSource, signing_secret
from cf_workers.cache.single_flight import Alone, Failed, Follow, Landed, Lead, Standing
from cf_workers.cache.stats import CacheStats, Inspection
from cf_workers.cache.store import Hit

__all__ = [
    "Alone",
    "Cache",
    "CachePolicy",
    "CacheStats",
    "Failed",
    "Follow",
    "GivenSecret",
    "Hit",
    "Inspection",
    "Landed",
    "Lead",
    "Miss",
    "SecretSource",
    "Standing",
    "cacheable_reply",
    "fingerprint",
    "signing_secret",
]
