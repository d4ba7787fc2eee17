"""Does every run of seven steps end right, and is every call accounted for, while everything goes wrong?

Workers are killed (SIGKILL) and frozen (SIGSTOP), the server is killed and started again (append-only file,
fsync at each write), all its connections are cut, messages are delivered again, and a fifth of all calls to
the simulated API fail: 429, 500, 529, cut streams, calls that hang. Workers run with the settings as shipped,
but for their number of retries and deaths allowed, and shorter waits between attempts.

    python benchmarks/chaos.py                       300 runs without a response cache
    python benchmarks/chaos.py --cached --runs 100   with it

Ends with 1 if anything is wrong, and then leaves the logs where it says.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from figures import Finding
from support import Report, rendered

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.chaos.trial import Outcome, Plan, Trial
from tests.support.environ import forget_private_settings


def main() -> int:
    """Run one trial and print what came of it."""
    options = _options()
    forget_private_settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process is ended
    home = Path(tempfile.mkdtemp(prefix="cf-workers-chaos-"))
    plan = Plan(
        options.seed,
        runs=options.runs,
        at_once=options.at_once,
        workers=options.workers,
        cached=options.cached,
        calm_seconds=180,
    )
    outcome = Trial(plan, home, tell=lambda text: print(text, file=sys.stderr, flush=True))()
    found = report(plan, outcome)
    print(rendered(found))
    if options.json:
        options.json.write_text(json.dumps(asdict(found)))
    if outcome.audit.wrong:
        print(f"\n{len(outcome.audit.wrong)} things are wrong; the logs are in {home}")
        print("\n".join(outcome.audit.wrong[:50]))
        return 1
    shutil.rmtree(home)
    return 0


def report(plan: Plan, outcome: Outcome) -> Report:
    """What was done to the fleet, and what came of it."""
    wrong = len(outcome.audit.wrong)
    figures = {
        "runs of seven steps": plan.runs,
        "worker processes kept running": plan.workers,
        "response cache": "on" if plan.cached else "off",
        **outcome.figures,
    }
    return Report(
        f"benchmarks/chaos.py --seed {plan.seed}",
        [
            Finding("things wrong with runs, steps, joins, calls or keys", "0", str(wrong), wrong == 0),
            *(Finding(what, "", _told(figure)) for what, figure in figures.items()),
        ],
        [],
    )


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {number}" for name, number in value.items()) or "-"
    if isinstance(value, list):
        return f"{sum(value)} in all: {' '.join(map(str, value))}"
    return str(value)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=40, help="runs under way")
    parser.add_argument("--workers", type=int, default=3, help="processes kept running")
    parser.add_argument("--cached", action="store_true", help="with the response cache, and shared tasks")
    parser.add_argument("--json", type=Path, help="write the report to this file as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
