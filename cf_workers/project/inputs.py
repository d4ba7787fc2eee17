"""Which inputs does a workflow declare?"""

from __future__ import annotations

import json
from collections.abc import Mapping

from cf_workers.project.fields import is_number, is_unicode, kind, strings_of
from cf_workers.project.problems import NAME_RULE, Report, at, is_name


def read_inputs(raw: object, place: str, report: Report) -> dict[str, str | None]:
    """Names with their defaults: from a list of names, or an object of name to default or description.

    `{"branch": "main", "depth": 3, "path": null, "style": {"default": "short", "description": "…"}}`;
    without a default an input must be given.
    """
    if isinstance(raw, Mapping):
        inputs = {name: _default(value, at(place, name), report) for name, value in raw.items()}
        for name in inputs:
            _check_name(name, at(place, name), report)
        return inputs
    if isinstance(raw, list):
        return _read_names(raw, place, report)
    report.add(place, f"must be a list of names or an object of names and defaults, not {kind(raw)}")
    return {}


def _read_names(raw: list[object], place: str, report: Report) -> dict[str, str | None]:
    inputs: dict[str, str | None] = {}
    for name_place, name in strings_of(raw, place, report):
        _check_name(name, name_place, report)
        if name in inputs:
            report.add(name_place, f"{name!r} is named twice", "remove one of them")
        inputs[name] = None
    return inputs


def _check_name(name: str, place: str, report: Report) -> None:
    if not is_name(name):
        report.add(place, f"{name[:80]!r} cannot be the name of an input", NAME_RULE)


def _default(value: object, place: str, report: Report) -> str | None:
    if isinstance(value, Mapping):
        return _default_text(value.get("default"), at(place, "default"), report)
    return _default_text(value, place, report)


def _default_text(value: object, place: str, report: Report) -> str | None:
    if isinstance(value, str):
        if not is_unicode(value):
            report.add(place, "holds half of a character (a lone surrogate)")
        return value
    if isinstance(value, bool) or is_number(value):
        return json.dumps(value)
    if value is not None:
        report.add(place, f"a default must be a string, a number, true, false or null, not {kind(value)}")
    return None
