"""The committed reference is what the code says now."""

import pytest

from cf_workers import errors
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


def test_every_error_has_its_remedy_in_the_guide():
    guide = (reference.ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    every = [
        name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)
    ]

    assert len(every) > 25
    assert [name for name in every if f"`{name}`" not in guide] == []


def test_every_section_of_settings_and_every_task_is_in_the_reference():
    pages = {name: make() for name, make in reference.PAGES.items()}

    for name in reference.Settings.model_fields:
        assert f"CF_WORKERS_{name.upper()}" in pages["settings"]
    assert "`cf_workers.run_agent`" in pages["tasks"]
