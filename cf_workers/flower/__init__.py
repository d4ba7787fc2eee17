"""What does Flower show of our runs? Pages and metrics beside its own, and defaults that are safe.

Imported by every `celery -A cf_workers …`, of which only one is Flower: the rest is loaded when that begins.
"""

from __future__ import annotations

import sys

_OPTIONS = "flower.options"


def install() -> None:
    """Prepare the `flower` command; without effect where Celery has not loaded that.

    Its options are tornado's, which call back when they have been read: from the environment (`FLOWER_*`),
    the command line and Flower's own configuration file. Ours are defaults, which each of these overrides.
    """
    if _OPTIONS not in sys.modules:
        return
    from tornado.options import options

    options.add_parse_callback(_begin)


def _begin() -> None:
    from cf_workers.flower.beginning import begin

    begin()
