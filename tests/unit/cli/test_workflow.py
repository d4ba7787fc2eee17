import json

import pytest

BAD_FILE = """{"steps": [
 {"id": "a", "agent": "lintr", "task": "x"},
 {"id": "b", "agent": "linter", "task": "x",
  "needs": ["a", "zz"]}
]}"""


def test_a_plan_prints_the_compiled_groups_and_chords(cf):
    lines = cf("workflow", "plan", "code-quality-check").stdout.splitlines()

    assert "  group([linter, type-checker, security-scan])" in lines
    assert "  chord([linter, type-checker, security-scan], final-review)" in lines
    assert "critical path: linter -> final-review (2 steps)" in lines
    assert any(line.startswith("messages: 5") for line in lines)
    assert cf.no_server_was_started


def test_a_plan_in_json_holds_the_same(cf):
    plan = cf.document("workflow", "plan", "code-quality-check", "--json")

    assert plan["success"] is True
    assert plan["canvas"][-1] == "chord([linter, type-checker, security-scan], final-review)"
    assert plan["critical_path"] == ["linter", "final-review"]
    assert plan["messages"] == 5


def test_a_sequential_plan_is_a_chain(cf):
    plan = cf.document("workflow", "plan", "code-quality-check", "--sequential", "--json")

    assert plan["critical_path"] == ["linter", "type-checker", "security-scan", "final-review"]
    assert "linter -> group([type-checker])" in plan["canvas"]


def test_an_empty_workflow_is_planned_as_its_end_alone(cf):
    cf.declare(workflows={"nothing": []})

    plan = cf.document("workflow", "plan", "nothing", "--json")

    assert plan["critical_path"] == []
    assert plan["messages"] == 1


def test_a_workflow_is_shown_with_what_its_steps_wait_for(cf):
    text = cf("workflow", "show", "code-quality-check").stdout

    assert "Code Quality Check" in text
    assert "linter, type-checker, security-scan" in text
    assert "input path = src" in text


def test_a_workflow_is_drawn_with_every_edge(cf):
    lines = cf("workflow", "show", "code-quality-check", "--mermaid").stdout.splitlines()

    assert lines[0] == "flowchart TD"
    assert '    s3["final-review (code-reviewer)"]' in lines
    assert [line.strip() for line in lines if "-->" in line] == ["s0 --> s3", "s1 --> s3", "s2 --> s3"]


def test_workflows_are_listed_usable_or_not(cf):
    cf.declare(workflows={"good": ["linter"], "bad": {"steps": [{"agent": "nobody"}]}})

    listed = {entry["name"]: entry for entry in cf.document("workflow", "list", "--json")["workflows"]}

    assert listed["good"]["valid"] is True
    assert listed["bad"]["valid"] is False
    assert "nobody" in listed["bad"]["problems"][0]["message"]


def test_a_sound_project_is_valid(cf):
    result = cf("workflow", "validate")

    assert result.exit_code == 0
    assert "2 workflows and 4 agents: no problems" in result.stdout


def test_all_problems_of_a_project_are_told_at_once(cf):
    cf.declare(
        workflows={
            "one": {"steps": [{"id": "x", "agent": "lintr"}]},
            "two": {"steps": [{"id": "x", "agent": "linter", "dependencies": ["y"]}]},
            "three": {"steps": [{"id": "x", "agent": "linter", "model": "claude-2.1"}]},
        }
    )
    (cf.project.parent / "agents" / "type-checker.md").write_text(" ")

    result = cf("workflow", "validate", "--json")

    document = json.loads(result.stdout)
    found = {problem["place"]: problem for problem in document["error"]["problems"]}
    assert result.exit_code == 2
    assert document["success"] is False
    assert found["workflows.one.steps[0].agent"]["hint"] == "did you mean 'linter'?"
    assert "'y'" in found["workflows.two.steps[0].dependencies[0]"]["message"]
    assert "retired" in found["workflows.three"]["message"]
    assert "empty" in found["agents.type-checker.file"]["message"]
    assert all(problem["file"] == str(cf.project) and problem["line"] > 1 for problem in found.values())


def test_problems_are_told_to_people_with_file_line_place_and_hint(cf):
    cf.declare(workflows={"one": {"steps": [{"id": "x", "agent": "lintr"}]}})

    result = cf("workflow", "validate", "one")

    line = next(n for n, text in enumerate(cf.project.read_text().splitlines(), 1) if "lintr" in text)
    assert result.exit_code == 2
    assert f"{cf.project}:{line}: workflows.one.steps[0].agent: there is no agent 'lintr'" in result.stderr
    assert "did you mean 'linter'?" in result.stderr


@pytest.mark.parametrize("command", [["run-workflow"], ["workflow", "validate"], ["workflow", "plan"]])
def test_problems_of_a_workflow_file_carry_its_own_name_and_lines(command, cf, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(BAD_FILE)

    result = cf(*command, str(file), "--json")

    problems = json.loads(result.stdout)["error"]["problems"]
    assert result.exit_code == 2
    assert [(p["file"], p["line"], p["place"]) for p in problems] == [
        (str(file), 2, "steps[0].agent"),
        (str(file), 4, "steps[1].needs[1]"),
    ]
    assert cf.no_server_was_started


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("3", "must be a list of agents or an object"),
        ('["lintr"]', "no agent 'lintr'"),
    ],
)
def test_a_workflow_file_that_cannot_be_read_is_refused(text, said, cf, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(text)

    result = cf("workflow", "validate", str(file))

    assert result.exit_code == 2
    assert said in result.stderr
    assert str(file) in result.stderr


def test_a_workflow_file_may_be_a_plain_list(cf, tmp_path):
    (tmp_path / "mine.json").write_text('["linter", "code-reviewer"]')

    assert cf.document("workflow", "plan", "./mine.json", "--json")["workflow_name"] == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run-workflow", "code-quality-chek"], "did you mean 'code-quality-check'?"),
        (["run-workflow", "bug-fix"], "--task"),
        (["run-workflow", "code-quality-check", "--input", "path"], "NAME=VALUE"),
        (["run-workflow", "code-quality-check", "--input", "paht=x"], "no input 'paht'"),
        (["run-workflow", "code-quality-check", "--input", "path=a", "--input", "path=b"], "given twice"),
        (["run-workflow", "./nowhere.json"], "nowhere.json"),
    ],
)
def test_a_run_that_cannot_work_ends_with_2_before_any_server_is_asked(words, said, cf):
    result = cf(*words)

    assert result.exit_code == 2
    assert said in result.stderr
    assert cf.no_server_was_started


def test_agents_are_listed_by_priority(cf):
    lines = cf("agents", "list").stdout.splitlines()

    assert lines[0].split() == ["AGENT", "PRIORITY", "DOMAINS", "MODEL", "USABLE"]
    assert lines[1].split()[:3] == ["linter", "1", "python"]
    assert len(lines) == 5


def test_an_agent_is_shown_with_its_text_contract_and_settings(cf):
    shown = cf.document("agents", "show", "code-reviewer", "--json")

    assert shown["text"].startswith("# code-reviewer")
    assert shown["contract"] == "Be fair."
    assert shown["max_tokens"] == 4096
    assert "You are the linter." in cf("agents", "show", "linter").stdout


def test_a_plan_says_which_models_were_chosen_and_why(cf):
    steps = [
        {"id": "a", "agent": "linter", "task": "Rename it", "model": "auto"},
        {"id": "b", "agent": "linter", "complexity": "complex"},
        {"id": "c", "agent": "linter"},
    ]
    cf.declare(workflows={"w": {"steps": steps}})

    assert cf.document("workflow", "plan", "w", "--json")["chosen_models"] == {
        "a": {"model": "claude-haiku-5-5", "reason": "simple: the word 'rename' and only 9 characters"},
        "b": {"model": "claude-opus-5-5", "reason": "complex: asked for"},
    }
    assert "model of b: claude-opus-5-5 (complex: asked for)" in cf("workflow", "plan", "w").stdout
