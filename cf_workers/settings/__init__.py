"""Which setting is in force? A flag beats the environment, that the project file, that the default.

Every setting is `CF_WORKERS_<FIELD>` or `CF_WORKERS_<SECTION>__<FIELD>` in the environment. Sections become
the policies of the parts they rule; no part sees the settings themselves.
"""

from cf_workers.settings.settings import DEFAULT_NAMESPACE, PREFIX, Settings
from cf_workers.settings.sources import below_environment, load_settings

__all__ = ["DEFAULT_NAMESPACE", "PREFIX", "Settings", "below_environment", "load_settings"]
