"""`cf-workers simulate-api`: the stand-in for the Anthropic API, in the foreground."""

from __future__ import annotations

from typing import Any

import click

from cf_workers.cli.output import print_document
from cf_workers.cli.session import Verb, session
from cf_workers.simulator.command import run, simulator_options


@click.command("simulate-api", cls=Verb)
@simulator_options
def simulate_api(**options: Any) -> None:
    """Serve a local stand-in for the Anthropic Messages API until interrupted.

    No model is asked and nothing is paid: point ANTHROPIC_BASE_URL at the address it prints.
    """
    if session().json:
        run(**options, say=lambda url: print_document({"success": True, "simulated": True, "url": url}))
    else:
        run(**options)
