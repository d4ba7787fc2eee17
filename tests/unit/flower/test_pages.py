"""Whoever opens Flower sees runs and their steps, and neither prompts nor anything that runs in a browser."""

import json
import re
from xml.etree import ElementTree

import pytest

from cf_workers.workflows.outcome import Outcome
from tests.support.engine import FAILED, diamond, plan, step

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>{{ 12345*6789 }}"
SECRET = "the text of a prompt or of an answer"
PAID = Outcome(
    "succeeded",
    attempts=2,
    result={
        "agent": "start",
        "model": "claude-haiku-4-5",
        "usage": {"input_tokens": 1000, "cache_read_input_tokens": 200, "output_tokens": 34},
        "estimated_cost": 0.5,
    },
    output=SECRET,
    input_tokens=1200,
    output_tokens=34,
    cost_nanos=500_000_000,
)


def texts(html: str) -> str:
    """What a person reads: without tags, with single spaces."""
    body = re.sub(r"<script.*?</script>|<style.*?</style>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def drawing(html: str) -> ElementTree.Element:
    """The picture of the steps, which must be well-formed."""
    (svg,) = re.findall(r"<svg xmlns[^>]*role=\"img\".*?</svg>", html, flags=re.DOTALL)
    return ElementTree.fromstring(svg)


def test_the_navigation_of_every_page_leads_to_the_runs(browser):
    for path in ("/runs", "/tasks-that-do-not-exist"):
        assert 'href="/runs"' in browser.text(path)


def test_the_list_shows_the_newest_runs_first_with_progress_and_cost(browser, engine, server_time):
    older = engine.record(diamond(), "older", task=SECRET)
    server_time.advance(60)
    engine.record(plan("a", name="other-workflow"), "newer")
    engine.finish_step(older, "start", PAID)

    page = browser.text("/runs")

    assert texts(page).index("newer") < texts(page).index("older")
    assert "older review running 1/4" in texts(page)
    assert "1,234 $0.5000" in texts(page)
    assert SECRET not in page


def test_the_list_is_shown_page_by_page(browser, engine, server_time):
    for number in range(30):
        engine.record(plan("a"), f"run-{number:02}")
        server_time.advance(1)

    first, second = browser.text("/runs"), browser.text("/runs?page=2")

    assert re.findall(r"run-\d\d(?=</code>)", first) == [f"run-{n:02}" for n in range(29, 4, -1)]
    assert re.findall(r"run-\d\d(?=</code>)", second) == [f"run-{n:02}" for n in range(4, -1, -1)]
    assert 'rel="next" href="/runs?page=2"' in first
    assert 'rel="prev" href="/runs?page=1"' in second
    assert "page 2 of 2" in texts(browser.text("/runs?page=99"))
    assert browser.get("/runs?page=many").code == 400


def test_a_list_without_runs_says_how_to_start_one(browser):
    assert "No runs yet" in texts(browser.text("/runs"))


def test_a_run_shows_its_steps_and_what_they_wait_for(browser, engine, server_time):
    header = engine.record(diamond(), "r1", task=SECRET)
    engine.finish_step(header, "start", PAID)
    engine.store.park(engine.claim(header, "left"), countdown=30, reason="the circuit breaker is open")
    engine.claim(header, "right", worker="host:1:x")

    page = browser.text("/run/r1")

    assert "start start succeeded 2 0.00 ms 1,234 $0.5000" in texts(page)
    assert re.search(r"left left parked .*the circuit breaker is open; for another \d+ s", texts(page))
    assert "worker host:1:x has been at it for" in texts(page)
    assert "the end of left, right" in texts(page)
    assert SECRET not in page


def test_a_failed_step_shows_its_error(browser, engine, server_time):
    header = engine.record(diamond(), "r1")
    engine.finish_step(header, "start", FAILED)

    assert "failed 1 0.00 ms CallRejectedError: no" in texts(browser.text("/run/r1"))


def test_the_graph_is_drawn_with_a_box_for_each_step_and_a_line_for_each_dependency(browser, engine):
    engine.finish_step(engine.record(diamond(), "r1"), "start")

    svg = drawing(browser.text("/run/r1"))

    names = [text.text for text in svg.iter() if text.get("class") == "run-name"]
    lines = [path.get("class") for path in svg.iter() if "run-line" in path.get("class", "")]
    assert names == ["start", "left", "right", "end"]
    assert sorted(lines) == ["run-line", "run-line", "run-line run-line-done", "run-line run-line-done"]


def test_nothing_that_others_have_written_is_markup(browser, engine):
    error = {"error": {"type": "Boom", "message": HOSTILE}}
    header = engine.record(plan(step(HOSTILE, agent=HOSTILE), step("b", HOSTILE), name=HOSTILE), "r1")
    engine.finish_step(header, HOSTILE, Outcome("failed", attempts=1, result=error))

    for path in ("/runs", "/run/r1"):
        page = browser.text(path)
        assert "alert(" in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert 'x"><' not in page
        assert str(12345 * 6789) not in texts(page)
    assert drawing(browser.text("/run/r1")) is not None


def test_a_run_that_is_not_there_is_told_as_text(browser):
    answer = browser.get("/run/%3Cscript%3Ealert(1)%3C%2Fscript%3E%25s")

    assert answer.code == 404
    assert "no run or execution" in answer.body.decode()
    assert b"<script>alert" not in answer.body


def test_the_browser_may_run_no_script_but_the_page_s_own(browser, engine):
    engine.record(diamond(), "r1")

    answer = browser.get("/run/r1")

    (policy,) = answer.headers.get_list("Content-Security-Policy")
    (nonce,) = re.findall(r"script-src 'self' 'nonce-([^']+)'", policy)
    inline = re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", answer.body.decode())
    assert inline == [f' nonce="{nonce}"']
    assert "default-src 'self'" in policy
    assert answer.headers["Cache-Control"] == "no-store"


def test_everything_a_page_needs_comes_from_flower_itself(browser, engine):
    engine.record(diamond(), "r1")

    for path in ("/runs", "/run/r1"):
        loaded = re.findall(r"<(?:script|link|img|use)\b[^>]*?(?:src|href)=\"([^\"]+)", browser.text(path))
        assert loaded
        assert all(address.startswith(("/static/", "#")) for address in loaded)


def test_a_run_that_has_ended_is_not_asked_for_again(browser, engine):
    header = engine.record(plan("a"), "r1")
    assert 'data-live="yes"' in browser.text("/run/r1")

    engine.finish_step(header, "a")
    engine.store.finish("r1", 1)

    assert 'data-live="no"' in browser.text("/run/r1")


def test_pages_stand_still_where_flower_is_told_so(browser):
    assert "every = 2000" in browser.text("/runs")
    assert "every = 0" in browser.text("/runs", auto_refresh=False)


def test_a_page_of_very_many_steps_is_asked_for_less_often(browser, engine):
    engine.record(plan(*(f"s{n}" for n in range(301))), "large")

    assert "every = 10000" in browser.text("/run/large")


def test_a_run_whose_plan_is_gone_still_has_a_page(browser, engine):
    header = engine.record(diamond(), "r1")
    engine.client.delete(*engine.client.keys(f"*{header.plan.digest}*"))

    page = browser.text("/run/r1")

    assert "The plan of this run is no longer kept" in page
    assert "<svg xmlns=" not in page.split('id="runs-live"')[1]


@pytest.mark.parametrize("path", ["/runs", "/run/r1"])
def test_pages_ask_who_you_are_where_flower_does(browser, engine, path):
    engine.record(diamond(), "r1")

    nobody = browser.get(path, basic_auth=["ann:secret"])
    ann = browser.get(path, basic_auth=["ann:secret"], headers={"Authorization": "Basic YW5uOnNlY3JldA=="})
    stranger = browser.get(path, auth=".*@example.org")

    assert (nobody.code, b"review" in nobody.body) == (401, False)
    assert ann.code == 200
    assert (stranger.code, stranger.headers["Location"].split("?")[0]) == (302, "/login")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_our_pages_change_nothing(browser, engine, method):
    engine.record(plan("a"), "r1")

    assert browser.get("/run/r1", method=method).code == 405


def test_a_server_that_does_not_answer_is_said_and_asked_again(browser, engine, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("redis://:password@host refused")

    monkeypatch.setattr(engine.client, "zcard", refuse)

    answer = browser.get("/runs")

    assert answer.code == 503
    assert "The server does not answer (ConnectionError)" in answer.body.decode()
    assert b"password" not in answer.body
    assert b'data-live="yes"' in answer.body


def test_the_fleet_s_metrics_stand_beside_flower_s(browser):
    page = browser.text("/metrics")

    assert "\nparrots 3.0\n" in page
    assert "python_info" in page
    assert json.dumps(page).count("# HELP parrots") == 1
