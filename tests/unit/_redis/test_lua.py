"""A Lua file becomes a call with named keys and arguments."""

import re
import sys
from importlib import resources

import pytest

from cf_workers._redis import Script

PACKAGES = ("cf_workers.workflows", "cf_workers.cache", "cf_workers.reliability")
FILES = [
    (package, file.name.removesuffix(".lua"))
    for package in PACKAGES
    for file in resources.files(package).joinpath("scripts").iterdir()
    if file.name.endswith(".lua") and "-- KEYS:" in file.read_text()
]
"""All scripts but those that others use, which have no header."""
HEADER = """-- Adds.
-- KEYS: total
-- ARGV: by note
-- RETURNS: the sum
-- REPEAT: not safe
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Makes a package of one script."""

    def make(text, name="add"):
        package = tmp_path / "made_for_a_test"
        (package / "scripts").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "scripts" / f"{name}.lua").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "made_for_a_test", raising=False)
        return Script("made_for_a_test", name)

    return make


@pytest.mark.parametrize(("package", "name"), FILES, ids=[name for _, name in FILES])
def test_every_script_uses_all_that_its_header_names_and_nothing_else(package, name):
    script = Script(package, name)
    scripts = resources.files(package).joinpath("scripts")
    text = scripts.joinpath(f"{name}.lua").read_text()
    for included in " ".join(re.findall("^-- USES: (.*)", text, re.MULTILINE)).split():
        text += scripts.joinpath(f"{included}.lua").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))

    assert set(re.findall(r"\bK\.(\w+)", code)) == set(script.keys)
    assert set(re.findall(r"\bA\.(\w+)", code)) == set(script.args)
    assert text.startswith("-- ")
    assert not re.search(r"\bKEYS\b|\bARGV\b", code)


@pytest.mark.parametrize(("package", "name"), FILES, ids=[name for _, name in FILES])
def test_no_script_needs_a_newer_server_than_redis_6_2(package, name):
    """EXPIRE has taken conditions since 7.0 only."""
    text = resources.files(package).joinpath("scripts", f"{name}.lua").read_text()

    assert not re.search(r"'P?EXPIRE(AT)?'[^)]*'(NX|XX|GT|LT)'", text)


@pytest.mark.parametrize("line", ["KEYS", "ARGV", "RETURNS", "REPEAT"])
def test_a_header_that_lacks_a_line_is_refused(script, line):
    with pytest.raises(ValueError, match=rf"scripts/add\.lua: the header lacks \['{line}'\]"):
        script(re.sub(f"-- {line}:.*\n", "", HEADER) + "return 1")


def test_a_header_that_names_nothing_is_allowed(script):
    made = script(re.sub("(KEYS|ARGV):.*", r"\1:", HEADER) + "return 1")

    assert (made.keys, made.args) == ((), ())


def test_keys_and_arguments_are_given_by_name_in_any_order(script, fake_redis):
    made = script(HEADER + "return redis.call('INCRBY', K.total, A.by) .. A.note")

    assert made(fake_redis, {"total": "n"}, {"note": "!", "by": 5}) == b"5!"
    fake_redis.delete("n")


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, ""),
        (True, "1"),
        (False, "0"),
        (1.5, "1.5"),
        ("text", "text"),
        (["b", 1], '["b",1]'),
        ({"b": 1, "a": "é"}, '{"a":"é","b":1}'),
    ],
)
def test_an_argument_that_is_no_text_or_number_arrives_as_json(script, fake_redis, value, seen):
    made = script(HEADER + "return A.note .. (A.by == '' and '' or '')  .. (K.total and '' or '?')")

    assert made(fake_redis, {"total": "n"}, {"note": value, "by": 0}).decode() == seen


@pytest.mark.parametrize(
    ("keys", "args"),
    [
        ({}, {"by": 1, "note": ""}),
        ({"total": "n"}, {"by": 1}),
        ({"total": "n", "other": "m"}, {"by": 1, "note": ""}),
        ({"total": "n"}, {"by": 1, "note": "", "more": 2}),
    ],
)
def test_a_call_with_missing_or_unknown_names_is_refused_before_it_is_sent(script, fake_redis, keys, args):
    made = script(HEADER + "return 1")

    with pytest.raises(TypeError, match=r"add\.lua takes KEYS \('total',\) and ARGV \('by', 'note'\)"):
        made(fake_redis, keys, args)


def test_a_script_can_be_queued_on_a_pipeline(script, fake_redis):
    made = script(HEADER + "return redis.call('INCRBY', K.total, A.by + #A.note)")

    with fake_redis.pipeline(transaction=False) as pipe:
        made(pipe, {"total": "n"}, {"by": 1, "note": ""})
        made(pipe, {"total": "n"}, {"by": 2, "note": ""})
        assert pipe.execute() == [1, 3]
    fake_redis.delete("n")
