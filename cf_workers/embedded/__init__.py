"""Where does a project keep its state when nobody has configured a server?

In a Valkey of its own on this machine. Every command that uses it holds a shared lock; a guardian process
starts it, restarts it when it dies, and stops it when nobody holds the lock any more.
"""

from cf_workers.embedded.joining import EmbeddedServer, join_or_start, running_url
from cf_workers.embedded.state import StateDir, existing_state_dir, state_dir_for

__all__ = [
    "EmbeddedServer",
    "StateDir",
    "existing_state_dir",
    "join_or_start",
    "running_url",
    "state_dir_for",
]
