"""`cf-workers health`: can work be done, and if not, why? For machines; `doctor` is for people."""

from __future__ import annotations

import click

from cf_workers.cli.output import notice, print_document, styled
from cf_workers.cli.session import Verb, session

NOT_READY, UNREACHABLE = 1, 3


@click.command("health", cls=Verb)
def health() -> None:
    """Check server, workers, breakers and queues.

    Ends with 0 when all is well, 1 when something holds work up, 3 when a server or worker cannot be reached.
    """
    from cf_workers.client import Client

    with Client(config=session().config, announce=notice) as client:
        found = client.operations.readiness()
    if session().json:
        print_document(found.document())
    else:
        for check in found.checks:
            mark = styled("ok", fg="green") if check.ok else styled("NOT OK", fg="red", bold=True)
            click.echo(f"{check.name}: {mark}, {check.says}")
    if not found.ready:
        click.get_current_context().exit(UNREACHABLE if found.unreachable else NOT_READY)
