"""A workflow is read whole, and everything that is wrong with it is said at once."""

import pytest

from cf_workers.errors import ProjectError, UnknownWorkflowError
from cf_workers.project import check_agents
from cf_workers.project.workflows import read_workflow
from cf_workers.workflows.graph import Graph
from cf_workers.workflows.spec import StepSpec, WorkflowSpec


def step(id_, *dependencies, **rest):
    return {"id": id_, "agent": "worker", "task": "t", "dependencies": list(dependencies), **rest}


def parse(name, raw, place=None, file=None):
    reading = read_workflow(name, raw, f"workflows.{name}" if place is None else place, file)
    return reading.spec, reading.problems


def problems_of(*steps, **rest):
    spec, problems = parse("w", {"steps": list(steps), **rest})
    assert (spec is None) == bool(problems)
    return problems


def test_a_plain_list_is_a_chain_with_positions_in_its_ids():
    spec, problems = parse("fix", ["finder", "fixer", "finder"])

    assert problems == []
    assert spec.is_list
    assert [(s.id, s.agent, s.task, s.dependencies) for s in spec.steps] == [
        ("1-finder", "finder", None, ()),
        ("2-fixer", "fixer", None, ("1-finder",)),
        ("3-finder", "finder", None, ("2-fixer",)),
    ]


def test_an_empty_list_is_a_workflow_without_steps():
    assert parse("w", []) == (WorkflowSpec("w", (), is_list=True), [])


def test_a_dag_keeps_every_key_of_its_steps():
    raw = {
        "name": "Quality",
        "description": "All checks",
        "timeout_seconds": 600,
        "inputs": {
            "path": None,
            "depth": 3,
            "strict": True,
            "style": {"default": "short", "description": "…"},
        },
        "steps": [
            {"id": "lint", "agent": "linter", "task": "Lint {{ inputs.path }}"},
            {
                "id": "end",
                "agent": "reviewer",
                "task": "Review",
                "dependencies": ["lint"],
                "rule": "all_done",
                "allow_failure": True,
                "timeout_seconds": 1.5,
                "max_retries": 0,
                "model": "claude-x",
                "max_tokens": 100,
                "cacheable": False,
                "lane": "batch",
                "colour": "unknown keys are ignored",
            },
        ],
    }

    spec, problems = parse("quality", raw)

    assert problems == []
    assert (spec.title, spec.description, spec.timeout_seconds) == ("Quality", "All checks", 600.0)
    assert spec.inputs == (("path", None), ("depth", "3"), ("strict", "true"), ("style", "short"))
    assert spec.steps[1] == StepSpec(
        id="end",
        agent="reviewer",
        task="Review",
        dependencies=("lint",),
        rule="all_done",
        allow_failure=True,
        timeout_seconds=1.5,
        max_retries=0,
        model="claude-x",
        max_tokens=100,
        cacheable=False,
        lane="batch",
    )


@pytest.mark.parametrize("key", ["dependencies", "needs", "depends_on"])
def test_dependencies_may_be_spelt_three_ways(key):
    spec, _ = parse("w", {"steps": [step("a"), {"id": "b", "agent": "x", key: ["a"]}]})

    assert spec.steps[1].dependencies == ("a",)


def test_a_step_without_an_id_takes_its_agents_name():
    spec, _ = parse("w", {"steps": [{"agent": "linter"}, {"agent": "x", "needs": ["linter"]}]})

    assert [s.id for s in spec.steps] == ["linter", "x"]


def test_null_means_absent():
    spec, problems = parse("w", {"steps": [{**step("a"), "rule": None, "model": None, "needs": None}]})

    assert problems == []
    assert spec.steps == (StepSpec("a", "worker", "t"),)


def test_inputs_may_be_a_list_of_names():
    spec, _ = parse("w", {"inputs": ["a", "b"], "steps": []})

    assert spec.inputs == (("a", None), ("b", None))


def test_inputs_that_tasks_name_are_required_where_none_are_declared():
    spec, problems = parse("w", {"steps": [step("a", task="{{inputs.x}} {{ inputs.y }}{{inputs.x}}")]})

    assert problems == []
    assert spec.inputs == (("x", None), ("y", None))


@pytest.mark.parametrize(
    ("steps", "place", "message"),
    [
        ([step("a", "a")], "steps[0].dependencies[0]", "'a' waits for itself"),
        ([step("a", "b")], "steps[0].dependencies[0]", "no step 'b'"),
        ([step("a"), step("b", "a", "a")], "steps[1].dependencies[1]", "'a' is named twice"),
        ([step("a"), step("a")], "steps[1].id", "'a' is taken by workflows.w.steps[0]"),
        ([{"agent": "x"}, {"agent": "x"}], "steps[1].id", "'x' is taken by"),
        ([step("a", rule="any")], "steps[0].rule", "'all_succeeded' or 'all_done', not 'any'"),
        ([step("a", lane="fast")], "steps[0].lane", "'interactive' or 'background' or 'batch' or 'auto'"),
        ([step("")], "steps[0].id", "is empty"),
        ([step("a b")], "steps[0].id", "'a b' cannot be the id"),
        ([step("a\n")], "steps[0].id", r"'a\n' cannot be the id"),
        ([step(7)], "steps[0].id", "must be a string, not a number"),
        ([{"id": "a"}], "steps[0]", "names no agent"),
        ([{"agent": ""}], "steps[0].agent", "is empty"),
        ([{"agent": "../x"}], "steps[0].agent", "'../x' cannot be the name of an agent"),
        ([{"agent": "x\n"}], "steps[0].agent", r"'x\n' cannot be the name of an agent"),
        (["linter"], "steps[0]", "must be an object, not a string"),
        ([step("a", task=["t"])], "steps[0].task", "must be a string, not a list"),
        ([step("a", task="\ud800")], "steps[0].task", "half of a character"),
        ([{"agent": "x", "needs": "y"}], "steps[0].needs", "must be a list, not a string"),
        ([{"agent": "x", "needs": [1]}], "steps[0].needs[0]", "must be a string, not a number"),
        ([{**step("a"), "needs": []}], "steps[0].needs", "means the same as 'dependencies'"),
        ([step("a", timeout_seconds=-1)], "steps[0].timeout_seconds", "above 0, not -1"),
        ([step("a", timeout_seconds="1")], "steps[0].timeout_seconds", "must be a number, not a string"),
        ([step("a", timeout_seconds=float("inf"))], "steps[0].timeout_seconds", "must be a number"),
        ([step("a", max_retries=-1)], "steps[0].max_retries", "at least 0, not -1"),
        ([step("a", max_retries=True)], "steps[0].max_retries", "must be a whole number, not true"),
        ([step("a", max_tokens=0)], "steps[0].max_tokens", "at least 1, not 0"),
        ([step("a", max_tokens=1.5)], "steps[0].max_tokens", "whole number, not 1.5"),
        ([step("a", cacheable="yes")], "steps[0].cacheable", "true or false, not a string"),
        ([step("a", allow_failure=1)], "steps[0].allow_failure", "true or false, not a number"),
        ([step("a", dependancies=[])], "steps[0].dependancies", "'dependancies' is not a key"),
        ([step("a", task="{{ inputs.a b }}")], "steps[0].task", "'a b' cannot be the name of an input"),
    ],
)
def test_each_mistake_in_a_step_is_reported_at_its_place(steps, place, message):
    (problem,) = problems_of(*steps)

    assert problem.place == f"workflows.w.{place}"
    assert message in problem.message


@pytest.mark.parametrize(
    ("raw", "place", "message"),
    [
        ("linter", "workflows.w", "must be a list of agents or an object with steps, not a string"),
        (None, "workflows.w", "not null"),
        ({}, "workflows.w", "has no steps"),
        ({"steps": {}}, "workflows.w.steps", "must be a list of steps, not an object"),
        (["a", 1], "workflows.w[1]", "must be a string, not a number"),
        (["a", " "], "workflows.w[1]", "is empty"),
        (["a", "../b"], "workflows.w[1]", "'../b' cannot be the name of an agent"),
        ({"steps": [], "timeout_seconds": 0}, "workflows.w.timeout_seconds", "above 0, not 0"),
        ({"steps": [], "inputs": "x"}, "workflows.w.inputs", "not a string"),
        ({"steps": [], "inputs": ["x", "x"]}, "workflows.w.inputs[1]", "'x' is named twice"),
        ({"steps": [], "inputs": {"x": []}}, "workflows.w.inputs.x", "not a list"),
        ({"steps": [], "inputs": {"x y": ""}}, 'workflows.w.inputs["x y"]', "cannot be the name"),
    ],
)
def test_each_mistake_in_a_workflow_is_reported_at_its_place(raw, place, message):
    spec, problems = parse("w", raw)

    assert spec is None
    assert [problem.place for problem in problems] == [place]
    assert message in problems[0].message


def test_a_misspelt_dependency_gets_a_suggestion():
    (problem,) = problems_of(step("type-checker"), step("end", "type-cheker"))

    assert problem.hint == "did you mean 'type-checker'?"


@pytest.mark.parametrize(
    ("key", "meant"),
    [("dependancies", "dependencies"), ("dependsOn", "depends_on"), ("max-tokens", "max_tokens")],
)
def test_a_misspelt_key_gets_a_suggestion(key, meant):
    (problem,) = problems_of(step("a", **{key: None}))

    assert problem.hint == f"did you mean {meant!r}?"


@pytest.mark.parametrize("key", ["timeout", "note", "outputs", "title", "x-owner", "parallel", "retries"])
def test_other_unknown_keys_are_nobodys_business(key):
    assert problems_of(step("a", **{key: "anything"})) == []


def test_an_undeclared_input_is_reported_with_the_nearest_declared_one():
    (problem,) = problems_of(step("a", task="{{ inputs.brunch }}"), inputs=["branch"])

    assert "'brunch' is not declared" in problem.message
    assert problem.hint == "did you mean 'branch'?"


def test_a_cycle_is_named_step_by_step():
    (problem,) = problems_of(step("x"), step("a", "b", "x"), step("b", "c"), step("c", "a"))

    assert problem.place == "workflows.w.steps[1]"
    assert "a -> b -> c -> a" in problem.message


def test_cycles_apart_from_each_other_are_all_named():
    problems = problems_of(step("a", "b"), step("b", "a"), step("c", "d"), step("d", "c"))

    assert [problem.message.rpartition(": ")[2] for problem in problems] == ["a -> b -> a", "c -> d -> c"]


def test_all_problems_are_reported_at_once():
    problems = problems_of(step("a", "nowhere", rule="x"), step("a"), {"task": 1}, step("c", "c"))

    assert len(problems) == 6


def test_places_begin_where_the_caller_says():
    _, problems = parse("w", {"steps": [step("a", "b")]}, place="", file="w.json")

    assert (problems[0].place, problems[0].file) == ("steps[0].dependencies[0]", "w.json")


@pytest.mark.parametrize("size", [1_500, 10_000])
@pytest.mark.parametrize(
    "shape",
    [
        lambda size: ["worker"] * size,
        lambda size: {"steps": [step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(size)]},
        lambda size: {
            "steps": [
                step("root"),
                *(step(f"s{i}", "root") for i in range(size)),
                step("end", *(f"s{i}" for i in range(size))),
            ]
        },
    ],
    ids=["list", "chain", "fan-out"],
)
def test_large_workflows_load(folder, shape, size):
    project = folder.with_agents("worker", workflows={"large": shape(size)})

    spec = project.workflow("large")

    assert len(Graph({s.id: s.dependencies for s in spec.steps})) >= size


def test_thousands_of_mistakes_are_all_reported(folder):
    steps = [step(f"step-{i}", f"stepp-{i}", agent=f"nobody-{i}", note=1) for i in range(3_000)]
    project = folder.with_agents("worker", workflows={"bad": {"steps": steps}})

    problems = project.problems

    assert len(problems) == 6_000
    assert problems[0].line < problems[-1].line


def test_a_bad_workflow_blocks_only_itself(folder):
    project = folder.with_agents("worker", workflows={"bad": {"steps": [step("a", "a")]}, "good": ["worker"]})

    assert project.workflow_names == ("bad", "good")
    assert len(project.workflow("good").steps) == 1
    with pytest.raises(ProjectError, match="waits for itself"):
        project.workflow("bad")


def test_the_error_of_a_workflow_lists_everything_with_lines(folder):
    steps = [step("a", "nowhere"), step("b", agent="wroker", rule="x")]
    project = folder.with_agents("worker", workflows={"bad": {"steps": steps}})

    with pytest.raises(ProjectError) as caught:
        project.workflow("bad")

    error = caught.value
    assert [problem["place"] for problem in error.problems] == [
        "workflows.bad.steps[1].rule",
        "workflows.bad.steps[0].dependencies[0]",
        "workflows.bad.steps[1].agent",
    ]
    lines = folder.file.read_text().splitlines()
    assert [lines[problem["line"] - 1].strip() for problem in error.problems] == [
        '"rule": "x"',
        '"nowhere"',
        '"agent": "wroker",',
    ]
    assert error.problems[2]["hint"] == "did you mean 'worker'?"
    assert "3 problems" in str(error)
    assert "wroker" in str(error)


def test_an_unknown_workflow_gets_a_suggestion(folder):
    project = folder.with_agents("worker", workflows={"bug-fix": ["worker"]})

    with pytest.raises(UnknownWorkflowError, match="'bugfix'") as caught:
        project.workflow("bugfix")

    assert caught.value.hint == "did you mean 'bug-fix'?"


def test_agents_of_a_workflow_from_elsewhere_are_checked_against_the_project(folder):
    project = folder.with_agents("worker")
    spec = WorkflowSpec("w", (StepSpec("a", "worker"), StepSpec("b", "../x"), StepSpec("c", "wroker")))

    problems = check_agents(spec, project, place="")

    assert [problem.place for problem in problems] == ["steps[1].agent", "steps[2].agent"]
    assert problems[1].hint == "did you mean 'worker'?"
