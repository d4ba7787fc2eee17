"""What may stand in a `claude.json`? The JSON Schema by which editors complete and check it.

It is made of the tables by which the loader reads. What the loader alone can say, it leaves to the loader:
whether agents and files exist, whether steps wait for each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from cf_workers.project.agents import AGENT_KEYS
from cf_workers.project.budgets import BUDGET_TABLE, BUDGETS_TABLE
from cf_workers.project.keys import Key, mapping, nullable, properties, text
from cf_workers.project.models import models_schema
from cf_workers.project.problems import NAME_PATTERN
from cf_workers.project.schedules import SCHEDULE_TABLE
from cf_workers.project.sections import CACHE_KEYS, FEATURE_KEYS, PERFORMANCE_KEYS
from cf_workers.project.workflows import DEPENDENCY_KEYS, STEP_TABLE, WORKFLOW_TABLE

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The draft that editors know best."""

UNREAD = ("$schema", "version", "description", "governance", "skills_integration", "paths", "rules")
"""Top-level keys that real projects have and that nothing here reads."""

_NAME = {"pattern": f"^{NAME_PATTERN.pattern}$"}
_SECTIONS: tuple[tuple[str, str, tuple[Key, ...]], ...] = (
    ("features", "Switches of the whole project; one that is off wins over the sections.", FEATURE_KEYS),
    ("performance", "How executions run.", PERFORMANCE_KEYS),
    ("cache", "How answers are kept.", CACHE_KEYS),
)


def project_schema() -> dict[str, Any]:
    """The JSON Schema of a project file."""
    return {
        "$schema": DRAFT,
        "title": "A project of cf_workers (claude.json)",
        "type": "object",
        "properties": {
            "$schema": {"description": "Where editors find this schema."},
            "version": {"description": "Of the project."},
            **properties([text("name", "Of the project; that of its folder if left out.")]),
            "description": {"description": "What the project is for."},
            **properties([mapping("agents", "The agents by name.", _agents())]),
            **properties([mapping("workflows", "The workflows by name.", _workflows())]),
            **properties([mapping("schedules", "What runs by itself, by name.", _schedules())]),
            **properties(mapping(name, about, _object(table)) for name, about, table in _SECTIONS),
            **properties([mapping("budgets", "What may be spent.", _closed(BUDGETS_TABLE))]),
            **properties([mapping("models", "How 'model': 'auto' chooses.", models_schema())]),
            **{key: {"description": "Not read by cf_workers."} for key in UNREAD[3:]},
        },
        "definitions": {
            "agent": _agent(),
            "workflow": _workflow(),
            "step": _step(),
            "inputs": _inputs(),
            "schedule": _schedule(),
            "budget": _budget(),
        },
    }


def project_schema_text() -> str:
    """The schema as a file holds it."""
    return json.dumps(project_schema(), indent=2, ensure_ascii=False) + "\n"


def _agents() -> dict[str, Any]:
    return {"propertyNames": _NAME, "additionalProperties": _reference("agent")}


def _workflows() -> dict[str, Any]:
    return {"additionalProperties": _reference("workflow")}


def _schedules() -> dict[str, Any]:
    return {"propertyNames": _NAME, "additionalProperties": _reference("schedule")}


def _schedule() -> dict[str, Any]:
    """Unknown keys are refused: a slip would make something run at the wrong time."""
    of_a_run = {"anyOf": [_present("task"), _present("inputs")]}
    return {
        **_object(SCHEDULE_TABLE),
        "type": "object",
        "additionalProperties": False,
        "allOf": [
            {"oneOf": [_present("cron"), _present("every")]},
            {"oneOf": [_present("workflow"), _present("batch")]},
            {"not": {"allOf": [_present("every"), _present("timezone")]}},
            {"not": {"allOf": [_present("batch"), of_a_run]}},
        ],
    }


def _agent() -> dict[str, Any]:
    return {**_object(AGENT_KEYS), "type": "object", "anyOf": [_present("file"), _present("path")]}


def _workflow() -> dict[str, Any]:
    """A list of agents, each after the one before it, or a graph of steps."""
    steps = {"description": "In any order.", "type": "array", "items": _reference("step")}
    graph = {
        "type": "object",
        "required": ["steps"],
        "properties": {
            **properties(WORKFLOW_TABLE),
            "inputs": nullable(_reference("inputs")),
            "steps": steps,
        },
    }
    agents = {"type": "array", "items": {"type": "string", **_NAME}}
    return {"anyOf": [graph, agents]}


def _step() -> dict[str, Any]:
    table = properties(STEP_TABLE)
    table["id"] = {**table["id"], **_NAME}
    table["agent"] = {**table["agent"], **_NAME, "type": "string"}
    twice = [
        {"allOf": [_present(one), _present(other)]}
        for number, one in enumerate(DEPENDENCY_KEYS)
        for other in DEPENDENCY_KEYS[number + 1 :]
    ]
    return {"type": "object", "required": ["agent"], "properties": table, "not": {"anyOf": twice}}


def _inputs() -> dict[str, Any]:
    """Names, or names with a default or a description each."""
    default = {"type": ["string", "number", "boolean", "null"]}
    described = {"type": "object", "properties": {"default": default, "description": {"type": "string"}}}
    return {
        "description": "What {{ inputs.NAME }} in a task may name; without a default it must be given.",
        "anyOf": [
            {"type": "array", "items": {"type": "string", **_NAME}, "uniqueItems": True},
            {
                "type": "object",
                "propertyNames": _NAME,
                "additionalProperties": {"anyOf": [default, described]},
            },
        ],
    }


def _object(table: Iterable[Key]) -> dict[str, Any]:
    return {"properties": properties(table)}


def _budget() -> dict[str, Any]:
    table = {key.name: key for key in BUDGET_TABLE}
    budget = {"type": "object", **_closed(BUDGET_TABLE), "required": ["usd"]}
    budget["properties"]["usd"] = {"description": table["usd"].about, **table["usd"].schema}
    return budget


def _closed(table: Iterable[Key]) -> dict[str, Any]:
    """An object that refuses what it does not know."""
    return {**_object(table), "additionalProperties": False}


def _present(key: str) -> dict[str, Any]:
    """A key that is there and not `null`."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/definitions/{name}"}
