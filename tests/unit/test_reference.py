"""The committed reference is what the code says now."""

import pytest

from cf_workers.metrics.guards import guard_families
from scripts import reference


@pytest.mark.parametrize("page", list(reference.PAGES))
def test_a_page_of_the_reference_is_current(page):
    committed = (reference.FOLDER / f"{page}.md").read_text(encoding="utf-8")

    assert committed == reference.WRITTEN + reference.PAGES[page](), "run scripts/reference.py"


def test_no_other_page_lies_among_them():
    assert {file.stem for file in reference.FOLDER.glob("*.md")} == {*reference.PAGES}


def test_the_metrics_of_the_guards_are_all_there_with_their_labels():
    page = reference.metrics()

    for family in guard_families([]):
        suffix = "_total" if family.type == "counter" else ""
        assert f"`{family.name}{suffix}` | {family.type} | `" in page
