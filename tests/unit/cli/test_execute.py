import json

import pytest


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["execute", "lintr", "x"], "there is no agent 'lintr'", "did you mean 'linter'?"),
        (["execute", "linter", "  "], "the task is empty", "say what"),
        (["execute", "linter", "x", "--model", "claude-2.1"], "retired", "use claude-"),
        (["execute", "linter", "x" * 100_001], "100001 characters", "CF_WORKERS_MAX_TASK_CHARS"),
        (["execute", "linter", "--task-file", "nowhere.txt"], "nowhere.txt", None),
        (["execute", "linter", "x", "--max-tokens", "0"], "--max-tokens", "--help"),
        (["execute", "linter", "x", "--timeout", "0"], "--timeout", "--help"),
        (["execute", "linter", "x", "--task-file", "f"], "not both", "--help"),
        (["execute", "linter", "x", "--sync", "--detach"], "cannot be detached", "--help"),
        (["execute", "linter", "x", "--max-cost", "-1"], "--max-cost", "--help"),
        (
            ["execute", "linter", "x", "--model", "mine", "--max-cost", "1"],
            "price is not known",
            "known price",
        ),
        (["execute", "bad name!", "x"], "cannot be the name of an agent", "letters"),
    ],
)
def test_input_that_cannot_work_ends_with_2_before_any_server_is_asked(words, said, hint, cf):
    result = cf(*words)

    assert result.exit_code == 2, result.stderr
    assert said in result.stderr
    assert hint is None or hint in result.stderr
    assert result.stdout == ""
    assert cf.no_server_was_started


def test_bad_input_is_told_before_an_unreachable_server(cf, monkeypatch):
    monkeypatch.setenv("CF_WORKERS_REDIS_URL", "redis://:hidden@127.0.0.1:1/0")

    assert cf("execute", "lintr", "x").exit_code == 2
    assert cf("run-workflow", "nothing").exit_code == 2


@pytest.mark.parametrize("stdin", [b"", b"\n"])
def test_without_a_task_and_with_nothing_on_standard_input_a_caller_is_told_how_to_give_one(stdin, cf):
    result = cf("execute", "linter", stdin=stdin)

    assert result.exit_code == 2
    assert "no task: give it as an argument, with --task-file or on standard input" in result.stderr
    assert "nothing came on standard input" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--timeout", "soon"], "'soon' is not a valid number."),
        (["--max-tokens", "1.5"], "'1.5' is not a valid whole number."),
    ],
)
def test_what_is_no_number_is_refused_in_plain_words(words, said, cf):
    result = cf("execute", "linter", "x", *words)

    assert result.exit_code == 2
    assert said in result.stderr


def test_a_task_that_is_not_text_is_refused(cf):
    result = cf("execute", "linter", "-", stdin=b"\xff\xfe\x00")

    assert result.exit_code == 2
    assert "standard input is not UTF-8" in result.stderr


def test_bytes_that_are_not_text_on_the_command_line_are_refused(cf):
    result = cf("execute", "linter", "caf\udce9")

    assert result.exit_code == 2
    assert "not valid UTF-8" in result.stderr


def test_a_temperature_is_said_not_to_be_sent(cf):
    result = cf("execute", "lintr", "x", "--temperature", "0.2")

    assert result.stderr.count("not sent") == 1


def test_an_unreachable_server_ends_with_3_and_shows_no_password(cf, monkeypatch):
    monkeypatch.setenv("CF_WORKERS_REDIS_URL", "redis://:hidden@127.0.0.1:1/0")

    result = cf("execute", "linter", "x", "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 3
    assert document["error"]["type"] == "ServerUnreachableError"
    assert "127.0.0.1:1" in document["error"]["message"]
    assert "hidden" not in result.output + result.stderr


def test_an_execution_in_this_process_can_only_hold_a_budget_of_its_own(cf):
    cf.declare(budgets={"day": 5})

    result = cf("execute", "linter", "x", "--sync", "--max-cost", "1")

    assert result.exit_code == 2
    assert "the budget day cannot hold for an execution in this process" in result.stderr


def test_an_execution_in_this_process_is_not_made_beyond_its_budget(cf):
    document = cf.document("execute", "linter", "x", "--sync", "--max-cost", "0.000001", "--json")

    assert document["success"] is False
    assert document["metadata"]["error"]["type"] == "BudgetError"
    assert "--max-cost" in document["metadata"]["error"]["hint"]
    assert cf.no_server_was_started


def test_a_chosen_model_is_told_with_its_reason_and_what_it_costs(cf):
    result = cf("execute", "linter", "Rename it", "--model", "auto", "--max-tokens", "1000")

    assert "model claude-haiku-5-5 (simple: the word 'rename'" in result.stderr
    assert "about $0.0002, at most $0.0007 a call" in result.stderr


def test_a_complexity_that_is_none_is_refused(cf):
    result = cf("execute", "linter", "x", "--complexity", "hard")

    assert result.exit_code == 2
    assert "tiers are simple, standard, complex" in result.stderr
