"""The JSON Schema says of every key what the loader says of it."""

import json
import os
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from cf_workers.project.files import FileTexts
from cf_workers.project.project import TOP_KEYS, Project
from cf_workers.project.schema import UNREAD, project_schema, project_schema_text
from cf_workers.project.source import Source

BESIDE_THE_CHECKOUT = Path(__file__).parents[3].parent / "shared/data/claude-force-project"
REAL = Path(os.environ.get("CF_WORKERS_TEST_PROJECT", BESIDE_THE_CHECKOUT)) / ".claude/claude.json"

SCHEMA = project_schema()
EVERYTHING = {
    "$schema": "./claude.schema.json",
    "agents": {"a": {"file": "agents/a.md"}, "b": {"file": "agents/b.md"}},
    "workflows": {
        "w": {"inputs": {"k": "v"}, "steps": [{"agent": "a"}, {"id": "z", "agent": "b"}]},
        "l": ["a", "b"],
    },
    "schedules": {"s": {"cron": "@daily", "workflow": "w"}},
    "features": {"x": 1},
    "performance": {"x": 1},
    "cache": {"x": 1},
    "budgets": {"namespace": {"usd": 100}},
}
PLACES = {
    "": ("properties",),
    "agents.a": ("definitions", "agent", "properties"),
    "workflows.w": ("definitions", "workflow", "anyOf", 0, "properties"),
    "workflows.w.steps[1]": ("definitions", "step", "properties"),
    "schedules.s": ("definitions", "schedule", "properties"),
    "features": ("properties", "features", "properties"),
    "performance": ("properties", "performance", "properties"),
    "cache": ("properties", "cache", "properties"),
    "budgets": ("properties", "budgets", "properties"),
    "budgets.namespace": ("definitions", "budget", "properties"),
}
"""Where an object stands in a project, and where its keys stand in the schema."""

VALUES = (None, True, 0, 1, 3, 4, 1.5, -1, "", " ", "a", "b c", "high", "batch", [], ["a"], [""], [1], {})

RELATED = [
    *(("agent", "high"), ("agent", "batch"), ("id", "a"), ("file", " "), ("path", " ")),
    *(("timezone", word) for word in ("a", "b c", "high", "batch")),
    *((key, word) for key in ("workflow", "batch") for word in ("a", "b c", "high", "batch")),
]
"""Values of the right kind about which there is more to say: what exists, what is taken."""


class Watched(dict):
    """An object that knows for which of its keys it was asked."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.asked = set()

    def get(self, key, default=None):
        self.asked.add(key)
        return super().get(key, default)


class WatchedSource(Source):
    def _object(self, pairs):
        return Watched(super()._object(pairs))


def schema_keys(place):
    found = SCHEMA
    for part in PLACES[place]:
        found = found[part]
    return set(found)


def member(document, place):
    for part in filter(None, place.replace("[1]", ".1").split(".")):
        document = document[int(part) if part == "1" else part]
    return document


def valid(document):
    return Draft7Validator(SCHEMA).is_valid(document)


@pytest.fixture
def agents(folder):
    for name in ("a", "b", "b c"):
        folder.add(f"agents/{name}.md", f"# {name}")
    for name in ("a", "high", "batch", "b c"):
        folder.add(name, f"# {name}")
    return folder


def test_the_schema_is_one_and_the_shipped_file_holds_it():
    Draft7Validator.check_schema(SCHEMA)

    shipped = (files("cf_workers.project") / "claude.schema.json").read_text("utf-8")

    assert shipped == project_schema_text(), "write it anew: cf-workers config schema > …"


def test_the_keys_that_a_slip_is_measured_by_are_those_of_the_schema():
    assert set(TOP_KEYS) == set(SCHEMA["properties"])


@pytest.mark.parametrize("place", PLACES)
def test_the_loader_asks_for_the_keys_of_the_schema_and_for_no_others(place, agents):
    text = agents.write(EVERYTHING).read_text()
    source = WatchedSource(agents.file, text)
    project = Project(source, FileTexts())
    assert project.problems == []

    asked = member(source.raw, place).asked

    assert asked == schema_keys(place) - (set(UNREAD) if place == "" else set())


@pytest.mark.parametrize(
    ("place", "key"), [(place, key) for place in PLACES for key in sorted(schema_keys(place) - {"steps"})]
)
def test_loader_and_schema_agree_on_every_kind_of_value(place, key, agents):
    for value in VALUES:
        if (key, value) in RELATED:
            continue
        document = json.loads(json.dumps(EVERYTHING))
        member(document, place)[key] = value
        if key == "path":
            del member(document, place)["file"]
        if key == "agents":
            del document["workflows"]
        if key in ("agents", "workflows"):
            document.pop("schedules")

        problems = agents.load(document).problems

        assert valid(document) == (not problems), (value, problems)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"version": "1.0.0"},
        {"governance": {"anything": [1]}, "unknown": 7},
        {"workflows": {"w": []}},
        {"workflows": {"w": {"steps": []}}},
        {"agents": {"a": {"path": "agents/a.md", "owner": "us"}}},
        {"agents": {"a": {"file": "agents/a.md"}}, "workflows": {"w": {"inputs": ["x"], "steps": []}}},
        {"workflows": {"w": {"inputs": {"x": {"default": 3, "description": "how many"}}, "steps": []}}},
        {
            "workflows": {"w": []},
            "schedules": {"s": {"every": "1h 30m", "workflow": "w", "missed": "run_once"}},
        },
        {"workflows": {"w": []}, "schedules": {"s": {"every": 90, "workflow": "w", "inputs": {"x": 1}}}},
    ],
)
def test_what_the_loader_accepts_the_schema_accepts(document, agents):
    assert agents.load(document).problems == []
    assert valid(document)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"agents": []},
        {"agents": {"a": {}}},
        {"agents": {"a": None}},
        {"agents": {"b c": {"file": "agents/a.md"}}},
        {"agents": {"a": {"file": None, "path": None}}},
        {"workflows": {"w": None}},
        {"workflows": {"w": "a"}},
        {"workflows": {"w": {}}},
        {"workflows": {"w": {"steps": None}}},
        {"workflows": {"w": {"steps": [{"task": "x"}]}}},
        {"workflows": {"w": {"inputs": ["x", "x"], "steps": []}}},
        {"workflows": {"w": {"inputs": {"b c": 1}, "steps": []}}},
        {"workflows": {"w": {"steps": [{"agent": "a", "needs": [], "depends_on": []}]}}},
        {"workflows": {"w": []}, "schedules": {"b c": {"every": "1h", "workflow": "w"}}},
        {"workflows": {"w": []}, "schedules": {"s": {"every": "soon", "workflow": "w"}}},
        {"workflows": {"w": []}, "schedules": {"s": {"every": "1h", "timezone": "UTC", "workflow": "w"}}},
        {"workflows": {"w": []}, "schedules": {"s": {"cron": "* * * *", "workflow": "w"}}},
        {"workflows": {"w": []}, "schedules": {"s": {"every": "1h", "workflow": "w", "tsak": "x"}}},
        {"schedules": {"s": {"every": "1h", "batch": "a", "task": "x"}}},
        {"schedules": {"s": []}},
    ],
)
def test_what_is_wrong_in_itself_the_schema_refuses(document, agents):
    assert not valid(document)
    if isinstance(document, dict):
        assert agents.load({"agents": {"a": {"file": "agents/a.md"}}, **document}).problems


def test_a_workflow_file_may_name_its_schema(agents):
    project = agents.load({"agents": EVERYTHING["agents"], "workflows": {"w": {"$schema": "x", "steps": []}}})

    assert project.problems == []


@pytest.mark.skipif(not REAL.is_file(), reason="needs a Claude Force project: CF_WORKERS_TEST_PROJECT")
def test_a_real_project_is_valid():
    assert list(Draft7Validator(SCHEMA).iter_errors(json.loads(REAL.read_text()))) == []
