"""The command line: verbs that parse, call and print."""

from __future__ import annotations


def main() -> None:
    """Run `cf-workers` with the arguments of this process."""
    from cf_workers.cli.logs import tell_people
    from cf_workers.cli.program import program

    tell_people()
    program(prog_name="cf-workers")
