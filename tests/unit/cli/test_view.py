import io

import pytest
from rich.console import Console

from cf_workers.cli.output import cost_text, problem_text, seconds_text
from cf_workers.cli.picture import Picture
from cf_workers.cli.report import timing
from cf_workers.cli.view import RunView, StepView, told
from cf_workers.workflows.history import RunEvent


def event(kind: str, at: float, step: str | None = None, **data: str) -> RunEvent:
    return RunEvent(f"{at}-0", kind, "r1", at, step, data)


def view_of(*steps: str) -> RunView:
    return RunView("w", [StepView(step, f"agent-{step}") for step in steps])


def ended(step: str, at: float, status: str = "succeeded", **data: str) -> RunEvent:
    usage = {"attempts": "1", "input_tokens": "90", "output_tokens": "10", "cost_nanos": "2000000"}
    return event(f"step.{status}", at, step, **(usage | data))


def lines_of(view: RunView, *events: RunEvent) -> list[str]:
    lines = []
    for one in events:
        view.apply(one)
        lines.append(told(one, view))
    return [line for line in lines if line is not None]


def test_each_event_is_one_line():
    lines = lines_of(
        view_of("a"),
        event("run.created", 1.0),
        event("run.started", 1.5),
        event("step.started", 1.5, "a", attempts="1"),
        event("step.retrying", 2.0, "a", attempts="1", countdown="0.8", reason="overloaded"),
        event("step.started", 3.0, "a", attempts="2"),
        ended("a", 4.0, attempts="2"),
        event("run.finished", 4.0, status="succeeded"),
    )

    assert lines == [
        "a: started (agent agent-a)",
        "a: attempt 1 failed: overloaded; again in 0.8 s",
        "a: started (agent agent-a, attempt 2)",
        "a: succeeded in 2.5 s, 2 attempts, 100 tokens, $0.0020",
        "w: succeeded after 3.0 s, 100 tokens, $0.0020",
    ]


def test_a_step_that_waits_to_be_let_in_says_why():
    view = view_of("a")

    lines = lines_of(
        view,
        event("step.started", 1.5, "a", attempts="1"),
        event("step.parked", 2.0, "a", attempts="0", countdown="30", reason="the budget day has $0 left"),
    )

    assert lines[-1] == "a: waits: the budget day has $0 left"
    assert view.left == 1


def test_one_unknown_price_makes_the_whole_unknown():
    view = view_of("a", "b")

    lines = lines_of(view, ended("a", 1.0), ended("b", 2.0, cost_nanos=""))

    assert view.steps["a"].cost == 0.002
    assert view.cost is None
    assert lines[-1].endswith("cost unknown")


def test_a_run_that_runs_again_keeps_only_what_succeeded():
    view = view_of("a", "b")

    lines_of(view, ended("a", 1.0), ended("b", 2.0, "failed"), event("run.reopened", 3.0, attempt="2"))

    assert (view.steps["a"].status, view.steps["b"].status) == ("succeeded", "waiting")
    assert view.left == 1
    assert view.status == "pending"


def test_a_step_that_never_ran_has_no_time_and_no_cost():
    assert lines_of(view_of("a"), ended("a", 1.0, "skipped", attempts="0")) == ["a: skipped"]


def test_an_answer_that_was_known_is_said_to_come_from_the_cache():
    view = view_of("a")

    lines = lines_of(view, ended("a", 1.0, attempts="0", input_tokens="0", output_tokens="0", cost_nanos="0"))

    assert lines == ["a: succeeded from the cache"]
    assert any("succeeded, from the cache" in line for line in picture_of(view, height=20))


def picture_of(view: RunView, height: int) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=False, width=100, height=height)
    console.print(Picture(view, console))
    return console.file.getvalue().splitlines()


def test_a_picture_never_outgrows_the_screen_and_shows_what_matters():
    view = view_of(*(f"s{n}" for n in range(200)))
    view.apply(event("step.started", 1.0, "s150", attempts="1"))
    view.apply(ended("s199", 2.0, "failed"))

    lines = picture_of(view, height=20)

    assert len(lines) <= 20
    assert any("s150" in line and "running" in line for line in lines)
    assert any("s199" in line and "failed" in line for line in lines)
    assert any("and 185 more steps" in line for line in lines)


def test_a_picture_shows_state_tokens_and_cost_of_each_step():
    view = view_of("a", "b")
    view.apply(event("step.started", 1.0, "a", attempts="1"))
    view.apply(ended("a", 3.0))

    lines = picture_of(view, height=20)

    assert next(line for line in lines if " a " in line).split() == [
        "✓", "a", "agent-a", "succeeded", "2.0", "s", "100", "$0.0020",
    ]  # fmt: skip
    assert "1/2 steps" in lines[-1]


def test_the_critical_path_of_a_run_is_that_of_its_measured_times():
    def step(began: float, over: float, *waits_for: str) -> dict:
        return {"started_at": began, "finished_at": over, "dependencies": list(waits_for)}

    document = {
        "total_time_seconds": 3.3,
        "results": {"a": step(0, 1), "b": step(0, 2), "c": step(2, 3, "a", "b")},
    }

    measured = timing(document)

    assert measured["critical_path"] == ["b", "c"]
    assert measured["critical_path_seconds"] == 3.0
    assert measured["sum_seconds"] == 4.0
    assert measured["makespan_over_critical_path"] == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 01 s"), (3_720, "1 h 02 min")],
)
def test_durations_read_as_a_person_says_them(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("cost", "text"), [(None, "cost unknown"), (0.0, "$0"), (0.00123, "$0.0012"), (12.345, "$12.35")]
)
def test_an_unknown_cost_is_not_zero(cost, text):
    assert cost_text(cost) == text


def test_a_problem_reads_file_line_place_message_and_hint():
    problem = {"file": "p.json", "line": 7, "place": "steps[0]", "message": "is wrong", "hint": "mend it"}

    assert problem_text(problem) == "p.json:7: steps[0]: is wrong (mend it)"
    assert problem_text(problem | {"file": None, "line": None, "hint": None}) == "steps[0]: is wrong"


def test_a_parked_step_says_what_it_waits_for():
    view = view_of("a")

    lines = lines_of(
        view,
        event("step.started", 1.0, "a", attempts="1"),
        event("step.parked", 1.1, "a", attempts="0", countdown="60", reason="in batch msgbatch_1"),
    )

    assert lines[-1] == "a: waits: in batch msgbatch_1"
    assert view.steps["a"].status == "parked"
