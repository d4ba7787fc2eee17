"""Which call writes a prompt prefix into the provider's cache, so that the others may read it?"""

from cf_workers.prefixes.policy import WarmingPolicy
from cf_workers.prefixes.prefixes import Cold, First, Prefixes, Standing, Wait, Warm

__all__ = ["Cold", "First", "Prefixes", "Standing", "Wait", "Warm", "WarmingPolicy"]
