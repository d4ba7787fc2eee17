"""What does a schedule in JSON mean, and what is wrong with it?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cf_workers.project.fields import Fields, is_number, is_unicode, kind
from cf_workers.project.keys import Key, choice, flag, mapping, positive, read_keys, text, word
from cf_workers.project.problems import NAME_RULE, Report, at, did_you_mean, is_name
from cf_workers.schedules.cron import parse_cron
from cf_workers.schedules.every import parse_interval
from cf_workers.schedules.spec import MISSED, OVERLAPS, ScheduleSpec, Timing
from cf_workers.workflows.spec import Lane

WHEN: tuple[Key, ...] = (
    Key(
        "cron",
        "Minute, hour, day of month, month, day of week, as in crontab; or @hourly to @yearly.",
        {"type": "string", "pattern": r"^\s*(@[A-Za-z]+|\S+(\s+\S+){4})\s*$"},
        lambda keys: keys.text("cron"),
    ),
    Key(
        "every",
        "An interval instead: '30s', '5m', '2h', '1d', or seconds; counted from 1970 in UTC.",
        {
            "anyOf": [
                {"type": "string", "pattern": r"^(\s*\d+\s*[smhdwSMHDW])+\s*$"},
                {"type": "integer", "minimum": 1},
            ]
        },
        lambda keys: keys.raw("every"),
    ),
    word("timezone", "Whose clocks 'cron' goes by, like Europe/Berlin; UTC if left out."),
)
WHAT: tuple[Key, ...] = (
    word("workflow", "What to run: a workflow of this project."),
    word("batch", "A file of executions instead, one a line; each is a step of the run."),
    mapping(
        "inputs", "Of the workflow.", {"additionalProperties": {"type": ["string", "number", "boolean"]}}
    ),
)
SETTINGS: tuple[Key, ...] = (
    text("task", "Shown to every step of the workflow."),
    choice(
        "lane",
        "How steps are asked that name none; batch is half the price.",
        get_args(Lane),
        default="interactive",
    ),
    positive("timeout_seconds", "Bound on each run, in seconds."),
    positive("max_cost_usd", "Budget of each run, in US dollars; the project's for runs if left out."),
    choice(
        "overlap",
        "While the run before is active: leave the tick out, let it wait, or cancel that run.",
        OVERLAPS,
        default="skip",
    ),
    choice(
        "missed", "Ticks while no beat was running: none, or one run for all of them.", MISSED, default="skip"
    ),
    flag("enabled", "Off: it does not tick.", default=True),
)
SCHEDULE_TABLE: tuple[Key, ...] = (text("description", "What it is for."), *WHEN, *WHAT, *SETTINGS)
SCHEDULE_KEYS = tuple(key.name for key in SCHEDULE_TABLE)


def read_schedule(
    name: str, raw: object, *, workflows: tuple[str, ...], report: Report
) -> ScheduleSpec | None:
    """Read one schedule; it is `None` when there are problems.

    Args:
        workflows: the names that the project declares.
    """
    place = at("schedules", name)
    if not is_name(name):
        report.add(place, f"{name[:80]!r} cannot be the name of a schedule", NAME_RULE)
    if not isinstance(raw, Mapping):
        report.add(place, f"must be an object, not {kind(raw)}", 'write {"cron": …, "workflow": …}')
        return None
    keys = Fields(raw, place, report)
    _refuse_unknown(raw, place, report)
    values = read_keys(keys, SCHEDULE_TABLE)
    timing = _timing(values, keys, place, report)
    _check_target(values, keys, place, workflows, report)
    inputs = _inputs(values["inputs"], keys, report)
    if report.problems or timing is None:
        return None
    rest = {key.name: found for key in SETTINGS if (found := values[key.name]) is not None}
    rest["task"] = values["task"] or None
    return ScheduleSpec(
        name, timing, workflow=values["workflow"], batch=values["batch"], inputs=inputs, **rest
    )


def missing_file(spec: ScheduleSpec, root: Path, report: Report) -> None:
    """Report a batch file that is not there now; `root` is the folder of the project file."""
    if spec.batch is not None and not (root / spec.batch).is_file():
        place = at(at("schedules", spec.name), "batch")
        report.add(place, f"there is no file {spec.batch[:200]!r}", f"it is relative to {root}")


def _refuse_unknown(raw: Mapping[str, Any], place: str, report: Report) -> None:
    """A slip in a key would make something run at the wrong time, so no unknown one is passed over."""
    for key in raw:
        if key not in SCHEDULE_KEYS:
            hint = did_you_mean(key, SCHEDULE_KEYS) or f"keys are {', '.join(SCHEDULE_KEYS)}"
            report.add(at(place, key), f"{key[:80]!r} is not a key of a schedule", hint)


def _timing(values: Mapping[str, Any], keys: Fields, place: str, report: Report) -> Timing | None:
    if "cron" in keys and "every" in keys:
        report.add(place, "has both 'cron' and 'every'", "keep one of them")
        return None
    if "every" in keys:
        return _every(values["every"], keys, report)
    if "cron" not in keys:
        report.add(place, "does not say when", 'add "cron": "0 3 * * *" or "every": "1h"')
    zone = _zone(values["timezone"], keys, report)
    if values["cron"] is None or zone is None:
        return None
    try:
        return parse_cron(values["cron"], zone)
    except ValueError as error:
        report.add(
            keys.place("cron"), str(error), "write minute hour day month weekday, as in '30 3 * * 1-5'"
        )
    return None


def _every(value: object, keys: Fields, report: Report) -> Timing | None:
    if "timezone" in keys:
        hint = "remove it, or use 'cron', which goes by the clocks of a time zone"
        report.add(keys.place("timezone"), "an interval has no time zone", hint)
    if not isinstance(value, str) and not is_number(value):
        report.add(keys.place("every"), f"must be a string or a number of seconds, not {kind(value)}")
        return None
    try:
        return parse_interval(cast("str | float", value))
    except ValueError as error:
        report.add(keys.place("every"), str(error))
    return None


def _zone(name: str | None, keys: Fields, report: Report) -> ZoneInfo | None:
    if name is None:
        return None if "timezone" in keys else ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(name, sorted(available_timezones())) or "names are like 'Europe/Berlin'"
        report.add(keys.place("timezone"), f"there is no time zone {name[:80]!r}", hint)
    return None


def _check_target(
    values: Mapping[str, Any], keys: Fields, place: str, workflows: tuple[str, ...], report: Report
) -> None:
    workflow = values["workflow"]
    if "workflow" in keys and "batch" in keys:
        report.add(place, "has both 'workflow' and 'batch'", "keep one of them")
    elif "workflow" not in keys and "batch" not in keys:
        report.add(place, "does not say what", 'add "workflow": NAME or "batch": "FILE.jsonl"')
    if workflow is not None and workflow not in workflows:
        report.add_unknown(
            keys.place("workflow"), f"there is no workflow {workflow[:80]!r}", workflow, workflows
        )
    if "batch" in keys:
        for key in keys.declared(("task", "inputs")):
            report.add(keys.place(key), "is for workflows: the lines of a batch file have their own")


def _inputs(given: Mapping[str, Any] | None, keys: Fields, report: Report) -> tuple[tuple[str, str], ...]:
    found = []
    for name, value in (given or {}).items():
        where = at(keys.place("inputs"), name)
        if isinstance(value, bool) or is_number(value):
            found.append((name, json.dumps(value)))
        elif not isinstance(value, str):
            report.add(where, f"must be a string, a number, true or false, not {kind(value)}")
        elif not is_unicode(value):
            report.add(where, "holds half of a character (a lone surrogate)")
        else:
            found.append((name, value))
    return tuple(found)
