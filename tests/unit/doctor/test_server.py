"""A server that loses, evicts or disorders work is found out."""

import pytest

from cf_workers.doctor import ADVICE, OK, PROBLEM, ServerFacts, server_findings

GOOD = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.0",
    "redis_mode": "standalone",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "maxmemory": 0,
    "aof_enabled": 1,
}


def findings(sync="everysec", skew=0.0, took=0.001, **info):
    config = None if sync is None else {"appendfsync": sync}
    facts = ServerFacts({**GOOD, **info}, config, skew, took)
    return {finding.topic: finding for finding in server_findings(facts)}


def test_a_good_server_has_nothing_to_do():
    found = findings()

    assert {finding.level for finding in found.values()} == {OK}
    assert found["server version"].says == "Valkey 9.1.0"


@pytest.mark.parametrize(
    ("topic", "level", "about"),
    [
        ("server version", PROBLEM, {"redis_version": "5.0.7"}),
        ("server version", OK, {"redis_version": "8.2.1"}),
        ("server role", PROBLEM, {"role": "slave"}),
        ("server role", PROBLEM, {"redis_mode": "cluster"}),
        ("eviction", ADVICE, {"maxmemory_policy": "allkeys-lru"}),
        ("eviction", PROBLEM, {"maxmemory_policy": "allkeys-lru", "maxmemory": 1000}),
        ("persistence", PROBLEM, {"aof_enabled": 0}),
        ("persistence", ADVICE, {"sync": "no"}),
        ("persistence", OK, {"sync": "always"}),
        ("persistence", OK, {"sync": None}),
        ("clock", PROBLEM, {"skew": 2.0}),
        ("clock", PROBLEM, {"skew": -2.0}),
        ("clock", OK, {"skew": 2.0, "took": 4.0}),
    ],
)
def test_each_fault_is_found_and_comes_with_what_to_do(topic, level, about):
    found = findings(**about)[topic]

    assert found.level == level
    assert (found.do is None) == (level == OK)


def test_a_server_that_hides_its_policy_is_asked_about():
    info = {name: value for name, value in GOOD.items() if name != "maxmemory_policy"}
    found = {one.topic: one for one in server_findings(ServerFacts(info, None, 0, 0))}

    assert found["eviction"].level == ADVICE
