"""The command line: verbs that parse, call and print."""

from __future__ import annotations


def main() -> None:
    """Run `cf-workers` with the arguments of this process."""
    from cf_workers.cli.program import program

    program(prog_name="cf-workers")
