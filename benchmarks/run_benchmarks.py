"""Runs every benchmark and prints one table: what was promised, what was measured, by which command.

python benchmarks/run_benchmarks.py --report [--quick] [--write benchmarks/README.md]
python benchmarks/run_benchmarks.py --only cache --section benchmarks/README.md

Long ones are run by hand, each with options of its own, and then put on the page:

python benchmarks/chaos.py --seed 3 --json chaos.json
python benchmarks/run_benchmarks.py --reports chaos.json --section benchmarks/README.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures import VERDICTS, as_markdown

FOLDER = Path(__file__).resolve().parent
BENCHMARKS = ("cache", "dag_makespan", "economy", "overhead", "throughput", "workflow_speed")
HEAD = ("what", "promised or aimed at", "measured", "", "command")
METHOD = """\
Every benchmark starts real processes on one machine and ends them: a Valkey server (append-only file, fsync
every second, as the embedded server of the product runs), the stand-in for the API, and one or more
`celery -A cf_workers worker`. Workers call the stand-in with the real SDK over real HTTP; each call carries
a definition of 16 000 characters. Tasks are unique, except where the cache itself is measured, so no response
cache can answer, and calls are counted in the log of the stand-in, never by the workers. Calls do not wait for
another call to write their prompt to the provider's cache first (`prompt_cache.warm_first` is off), since no
peer does. Peers are measured in the same run: their figures move with the machine as ours do, so the ratios
say more than the absolute figures.

Everything shares the cores listed below - server, stand-in, worker, producer and peer - so absolute figures
are those of a small machine; in production the API is elsewhere. Nothing here says anything about the speed
or the limits of the real API."""


def main() -> None:
    """Run the benchmarks in turn, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--report", action="store_true", help="run them all and print the table (the default)"
    )
    parser.add_argument("--quick", action="store_true", help="a short version, less exact")
    parser.add_argument("--only", choices=BENCHMARKS, nargs="+", default=BENCHMARKS, metavar="NAME")
    parser.add_argument(
        "--reports", type=Path, nargs="+", metavar="JSON", help="run nothing: take what --json has written"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write method, machine and tables here")
    parser.add_argument(
        "--section",
        type=Path,
        metavar="FILE",
        help="renew the sections of these benchmarks here, and no others",
    )
    options = parser.parse_args()
    if options.reports:
        if options.write or not options.section:
            parser.error("--reports goes with --section: a whole page is that of one run")
        _put_on_page(options.reports, options.section)
        return
    load, began_at = os.getloadavg()[0], datetime.now(UTC)
    began = time.monotonic()
    reports = [_run(name, quick=options.quick) for name in options.only]
    seconds = time.monotonic() - began
    rows = [row for report in reports for row in rows_of(report)]
    print(as_markdown(HEAD, rows))
    print(f"\n{_machine_line()}; all benchmarks took {seconds:.0f} s")
    if options.write:
        page = document(reports, quick=options.quick, seconds=seconds)
        if options.write.exists():
            page = with_others(page, options.write.read_text(encoding="utf-8"))
        options.write.write_text(page, encoding="utf-8")
    if options.section:
        page = options.section.read_text(encoding="utf-8")
        for report in reports:
            page = with_section(page, report, conditions(began_at, (load, os.getloadavg()[0])))
        options.section.write_text(page, encoding="utf-8")
    sys.exit(int(any(finding["met"] is False for report in reports for finding in report["findings"])))


def _put_on_page(reports: list[Path], target: Path) -> None:
    """Renew the sections of what was run by hand; a report is as old as its file."""
    page = target.read_text(encoding="utf-8")
    for path in reports:
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        page = with_section(page, json.loads(path.read_text(encoding="utf-8")), conditions(written, None))
    target.write_text(page, encoding="utf-8")


def _run(name: str, *, quick: bool) -> dict[str, Any]:
    """The report of one benchmark.

    Raises:
        SystemExit: it did not come to an end.
    """
    print(f"{name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        flags = ["--quick"] if quick else []
        argv = [sys.executable, str(FOLDER / f"{name}.py"), "--json", str(report), *flags]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as child:
            try:
                code = child.wait()
            except KeyboardInterrupt:
                child.wait()  # it was interrupted as well, and is ending its processes
                raise
        if code:
            sys.exit(f"{name} ended with {code}; see above")
        return dict(json.loads(report.read_text(encoding="utf-8")))


def rows_of(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """The findings of a report as rows of the table."""
    return [
        (
            found["what"],
            found["aim"] or "-",
            found["measured"],
            VERDICTS[found["met"]],
            f"`python {report['command']}`",
        )
        for found in report["findings"]
    ]


def document(reports: list[dict[str, Any]], *, quick: bool, seconds: float) -> str:
    """The page that keeps a run: how it was measured, where, and what came out."""
    command = f"python benchmarks/run_benchmarks.py --report{' --quick' if quick else ''}"
    rows = [row for report in reports for row in rows_of(report)]
    parts = [
        "# Benchmarks",
        f"Measured on {datetime.now(UTC).date().isoformat()} by `{command} --write benchmarks/README.md`, "
        f"which took {seconds:.0f} s, except for sections that name a date of their own. Nobody writes here by hand.",
        as_markdown(HEAD, rows),
        "## How",
        METHOD,
        "## Where",
        as_markdown(("", ""), list(_machine().items())),
    ]
    parts += [section(report) for report in reports]
    return "\n\n".join(parts) + "\n"


def section(report: dict[str, Any], *before: str) -> str:
    """The details of one benchmark, below its own heading."""
    parts = [_heading(report), *before]
    for table in report["tables"]:
        parts += [f"{table['title']}:", as_markdown(table["head"], table["rows"])]
    return "\n\n".join([*parts, *report["notes"]])


def with_section(page: str, report: dict[str, Any], conditions: str) -> str:
    """The page with one benchmark's section renewed, or added at its end; it has its findings with it."""
    found = as_markdown(HEAD[:-1], [row[:-1] for row in rows_of(report)])
    renewed = section(report, conditions, found)
    sections = _sections(page)
    places = [number for number, text in enumerate(sections) if text.split("\n")[0] == _heading(report)]
    if places:
        sections[places[0]] = renewed
    else:
        sections.append(renewed)
    return "\n\n".join(sections) + "\n"


def with_others(page: str, before: str) -> str:
    """A new page with those sections of the one before it whose benchmarks are run by hand."""
    new = _sections(page)
    headings = {section.split("\n")[0] for section in new}
    by_hand = [
        section
        for section in _sections(before)
        if (heading := section.split("\n")[0]) not in headings
        and (program := re.match(r"## `benchmarks/(\w+)\.py", heading))
        and program[1] not in BENCHMARKS
    ]
    return "\n\n".join([*new, *by_hand]) + "\n"


def _sections(page: str) -> list[str]:
    return re.split(r"\n+(?=## )", page.rstrip("\n"))


def conditions(began: datetime, loads: tuple[float, float] | None) -> str:
    """When, where and beside how much else it was measured.

    Args:
        loads: averages of a minute, when it began and when it ended; `None`: run by hand, beside nobody knows what.
    """
    when = f"Measured on {began.date().isoformat()}, apart from the table above: {_machine_line()}."
    if loads is None:
        return f"{when} Run by hand."
    return (
        f"{when} "
        f"Load average of a minute when it began {loads[0]:.1f}, when it ended {loads[1]:.1f}; with more than "
        "there are cores, others were at work as well: medians of microseconds bear that, higher percentiles "
        "and figures end to end do not."
    )


def _heading(report: dict[str, Any]) -> str:
    return f"## `{report['command']}`"


def _machine() -> dict[str, str]:
    from support import machine  # loads the package, which the command line above does without

    return machine()


def _machine_line() -> str:
    return ", ".join(f"{name} {value}" for name, value in _machine().items())


if __name__ == "__main__":
    main()
