"""Every key is built in one place, and its docstring says all that there is to know about it."""

import dataclasses
import inspect
import re

import pytest

from cf_workers._redis import PERMANENT, Keys, keys

_ROW = re.compile(r"^    (\S+)\s+(string|hash|list|set|zset|stream)\s+(.*)$", re.MULTILINE)
ROWS = {name: (kind, rest) for name, kind, rest in _ROW.findall(keys.__doc__)}

WORDS = {
    "definition": ("DIGEST",),
    "definition_users": ("DIGEST",),
    "idempotency": ("DIGEST",),
    "prefix": ("DIGEST",),
    "prefix_waiters": ("DIGEST",),
    "daily": ("DATE",),
    "budget": ("ACCOUNT",),
    "budget_waiting": ("ACCOUNT",),
    "samples": ("AGENT", "MODEL"),
    "schedule": ("NAME",),
    "schedule_waiting": ("NAME",),
    "guard": ("CRED", "CLASS"),
    "cache_shard": ("N",),
    "cache_flight": ("N", "DIGEST"),
    "batch_open": ("KEY",),
}


def every_key() -> dict[str, str]:
    """What each way to build a key gives, with the words of the docstring for what varies."""
    made = Keys()
    built = {}
    for name, member in vars(Keys).items():
        if isinstance(member, property):
            found = getattr(made, name)
            built |= vars(found) if dataclasses.is_dataclass(found) else {name: found}
        elif inspect.isfunction(member) and not name.startswith("_"):
            found = member(made, *WORDS.get(name, ("ID",)))
            if dataclasses.is_dataclass(found):
                built |= {f"{name}.{one.name}": getattr(found, one.name) for one in dataclasses.fields(found)}
            else:
                built[name] = found
    return built


def test_the_table_of_keys_names_every_key_and_no_other():
    built = every_key()

    built["idempotency"] = "cfw:idempotency:DIGEST"  # the key that a caller chose is hashed
    built["batch_mark"] = "cfw:batches:mark:DIGEST"  # and so is a mark

    assert set(built.values()) == {f"cfw:{name}" for name in ROWS}


def test_every_key_begins_with_its_namespace():
    other = Keys("staging")

    names = [
        other.runs,
        other.worker("w"),
        other.definition("d"),
        *other.run("r").all(),
        other.idempotency("k"),
    ]

    assert all(name.startswith("staging:") for name in names)


def test_exactly_the_keys_that_the_table_calls_permanent_are_declared_permanent():
    said = {name for name, (_, rest) in ROWS.items() if rest.startswith("permanent")}

    assert {name.replace("{N}", "{*}") for name in said} == set(PERMANENT)


def test_the_keys_of_a_run_share_a_slot_of_a_cluster():
    names = Keys().run("4f2a").all()

    assert len(set(names)) == 6
    assert {re.search(r"\{(.*?)\}", name).group(1) for name in names} == {"4f2a"}


def test_a_definition_shares_its_slot_with_its_users():
    made = Keys()

    assert made.definition_users("abc") == f"{made.definition('abc')}:users"


@pytest.mark.parametrize("key", ["", "pr-812", "a key with spaces\nand } braces {", "ключ"])
def test_an_idempotency_key_of_any_text_becomes_a_digest(key):
    assert re.fullmatch(r"cfw:idempotency:[0-9a-f]{64}", Keys().idempotency(key))
