"""Every error survives the broker and comes back as itself."""

import inspect
import json
import pickle
import re

import pytest
from celery.backends.base import BaseBackend

from cf_workers import errors
from cf_workers.errors import CfWorkersError, ExecutionError, describe_error, restore_error
from tests.support.engine import memory_app

EVERY_ERROR = [
    found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, CfWorkersError)
]
DETAILS = {
    "hint": "wait",
    "retry_after": 1.5,
    "status": 529,
    "request_id": "req_1",
    "usage": {"n": [1, None]},
}


@pytest.fixture(scope="module")
def backend():
    app = memory_app(None)
    yield BaseBackend(app, serializer="json")
    app.close()


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_every_error_survives_celerys_json_results_and_pickle(kind, backend):
    error = kind("it did not work: 'é'", DETAILS)

    stored = json.loads(json.dumps(backend.prepare_exception(error)))
    for back in (
        backend.exception_to_python(stored),
        pickle.loads(pickle.dumps(error)),
        restore_error(json.loads(json.dumps(describe_error(error)))),
    ):
        assert type(back) is kind
        assert (back.message, back.details, back.hint) == (error.message, DETAILS, "wait")
        assert str(back) == "it did not work: 'é'"
        assert back.exit_code == kind.exit_code


def test_every_error_is_drawn_in_the_tree_under_its_parent():
    drawn = {}
    parents = {}
    for line in errors.__doc__.splitlines():
        if found := re.match(r"^([ │├└─]+)([A-Z]\w+Error)\b", line):
            depth = len(found.group(1)) // 4
            parents[depth] = found.group(2)
            drawn[found.group(2)] = parents.get(depth - 1)

    assert drawn == {
        kind.__name__: None if kind is CfWorkersError else kind.__base__.__name__ for kind in EVERY_ERROR
    }


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_means_and_how_the_command_line_ends(kind):
    assert kind.__doc__.strip()
    assert kind.exit_code in {1, 2, 3}


@pytest.mark.parametrize("type", ["", "Mapping", "describe_error", "GoneError"])
def test_an_error_of_an_unknown_type_comes_back_as_an_execution_error(type):
    back = restore_error({"type": type, "message": "odd", "status": 500})

    assert back.__class__ is ExecutionError
    assert (back.message, back.status) == ("odd", 500)


def test_an_errors_details_cannot_be_changed_from_outside():
    given = {"hint": "a"}
    error = CfWorkersError("x", given)

    given["hint"] = "b"
    error.details["hint"] = "c"

    assert error.hint == "a"


def test_a_project_error_lists_all_its_problems():
    error = errors.ProjectError("two problems", {"problems": [{"where": "a"}, {"where": "b"}]})

    assert [one["where"] for one in error.problems] == ["a", "b"]
    assert errors.ProjectError("none").problems == []
