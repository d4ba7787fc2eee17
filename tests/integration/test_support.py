import os
import signal

import pytest

from tests.support import eventually

pytestmark = pytest.mark.integration

PERMANENT_KEYS = ("k",)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_test_gets_an_empty_database_of_its_own(valkey, valkey_server) -> None:
    with valkey.client() as client:
        client.set("k", "v")

    other = valkey_server.fresh_store()

    assert other.url != valkey.url
    with other.client() as client:
        assert client.dbsize() == 0


def test_a_process_sees_no_setting_of_the_developers_own(processes, monkeypatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")

    child = processes.python("-c", "import os; print(sorted(os.environ), 'ready.')")

    assert "ANTHROPIC_API_KEY" not in child.output()
    assert "REDIS_URL" not in child.output()


def test_a_process_that_ends_too_early_fails_the_test_with_its_output(processes) -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended with 3 before 'ready\.'.*no luck"):
        processes.python("-c", "print('no luck'); raise SystemExit(3)")


def test_ending_a_process_ends_what_ignores_the_request_and_its_children_too(processes) -> None:
    stubborn = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('child', child.pid, 'ready.'); time.sleep(60)"
    )
    parent = processes.python("-c", stubborn)
    grandchild = int(parent.output().split()[1])

    parent.kill()

    assert parent.returncode == -signal.SIGKILL
    eventually(lambda: not is_alive(grandchild), "the grandchild to be gone")
