"""Every place in a project file has its line."""

import json

from hypothesis import given
from hypothesis import strategies as st

from cf_workers.project.problems import at
from cf_workers.project.source import Source

names = st.text(max_size=4) | st.sampled_from(['"', "a.b", "[0]", "\\", "{", "é🚀", "a:b,c", "\n"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


def members(value, place=""):
    """All members of a document with their places and what their line must show."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield at(place, key), json.dumps(key) + ":"
            yield from members(inner, at(place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            shown = "[" if isinstance(inner, list) else "{" if isinstance(inner, dict) else json.dumps(inner)
            yield at(place, index), shown
            yield from members(inner, at(place, index))


@given(st.dictionaries(names, values, max_size=4), st.sampled_from([None, 0, 2]))
def test_the_line_of_a_member_shows_that_member(tmp_path_factory, document, indent):
    text = json.dumps(document, indent=indent)
    source = Source(tmp_path_factory.getbasetemp() / "claude.json", text)

    lines = text.split("\n")

    for place, shown in members(document):
        assert shown in lines[source.line(place) - 1]
    assert source.duplicates == []


def test_a_place_that_is_missing_has_the_line_of_what_is_around_it(tmp_path):
    source = Source(tmp_path / "claude.json", '{\n"a": [\n{\n"b.c": 1}]}')

    assert source.line("a[0].task") == 3
    assert source.line('a[0]["b.c"][7].x') == 4
    assert source.line("nothing") is None
