"""A benchmark renews its own section of the page, and nobody else's."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "benchmarks"
REPORT = {
    "command": "benchmarks/cache.py",
    "findings": [{"what": "a hit", "aim": "<= 2 x", "measured": "1.7 x", "met": True}],
    "tables": [{"title": "Microseconds", "head": ["what", "p50"], "rows": [["hit", "70"]]}],
    "notes": ["A note."],
}


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import run_benchmarks

    yield run_benchmarks
    for name in ("run_benchmarks", "figures"):
        sys.modules.pop(name, None)


def test_a_section_that_is_not_there_is_added_at_the_end(page):
    found = page.with_section("# Page\n\n## A\n\ntext\n", REPORT, "Conditions.")

    assert found.startswith("# Page\n\n## A\n\ntext\n\n## `benchmarks/cache.py`\n\nConditions.\n\n| what ")
    assert "| hit  | 70  |" in found
    assert "| a hit | <= 2 x               | 1.7 x    |" in found
    assert found.endswith("\n\nA note.\n")


def test_a_section_that_is_there_is_renewed_in_its_place(page):
    first = page.with_section("# Page\n", {**REPORT, "notes": ["Old."]}, "Then.") + "\n## Last\n\nkept\n"

    found = page.with_section(first, REPORT, "Now.")

    assert found.count("## `benchmarks/cache.py`") == 1
    assert "Old." not in found
    assert "Then." not in found
    assert found.index("Now.") < found.index("## Last")
    assert found.endswith("## Last\n\nkept\n")


def test_a_new_page_keeps_the_sections_of_what_is_run_by_hand(page):
    by_hand = {**REPORT, "command": "benchmarks/chaos.py --seed 3"}
    before = page.with_section(page.with_section("# Page\n", REPORT, "Then."), by_hand, "By hand.")

    found = page.with_others("# New\n\n## How\n\ntext\n", before)

    assert found.startswith("# New\n\n## How\n\ntext\n\n## `benchmarks/chaos.py --seed 3`\n\nBy hand.\n")
    assert "benchmarks/cache.py" not in found


def test_a_new_page_has_no_section_twice(page):
    before = page.with_section("# Page\n", {**REPORT, "command": "benchmarks/chaos.py"}, "Then.")
    new = page.with_section("# New\n", {**REPORT, "command": "benchmarks/chaos.py"}, "Now.")

    assert page.with_others(new, before) == new
