"""Running workers see edits, and read nothing twice that did not change."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cf_workers.errors import ConfigError
from cf_workers.project import ProjectCache, current_project
from cf_workers.project import files as files_module


class ScriptedClock:
    """Does something instead of waiting."""

    def __init__(self, *instead_of_waiting) -> None:
        self.waited = 0
        self._script = list(instead_of_waiting)

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        self.waited += 1
        if self._script:
            self._script.pop(0)()


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """The files that were really opened."""
    seen: list[Path] = []
    real = os.open

    def counting(path, *args, **kwargs):
        seen.append(Path(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(files_module.os, "open", counting)
    return seen


def settle(monkeypatch):
    """Let the files count as old: time stamps within one tick of the clock are not trusted."""
    real = time.time_ns
    monkeypatch.setattr(files_module.time, "time_ns", lambda: real() + 10**9)


def test_an_unchanged_project_is_the_same_object_and_is_not_read_again(folder, opened, monkeypatch):
    folder.with_agents("a")
    settle(monkeypatch)
    cache = ProjectCache()
    opened.clear()

    projects = {id(cache.project(folder.file)) for _ in range(5)}
    texts = {cache.project(folder.file).agent("a").text for _ in range(5)}

    assert len(projects) == 1
    assert texts == {"# a"}
    assert sorted(opened) == [folder.root / "agents/a.md", folder.file]


def test_edits_of_the_project_and_of_its_agents_are_seen(folder):
    folder.with_agents("a")
    cache = ProjectCache()
    assert cache.project(folder.file).agent("a").text == "# a"

    folder.add("agents/a.md", "# edited")
    folder.write({"agents": {"b": {"file": "agents/a.md"}}})

    project = cache.project(folder.file)
    assert project.agent_names == ("b",)
    assert project.agent("b").text == "# edited"


def test_an_edit_that_keeps_length_and_time_stamp_is_seen(folder):
    cache = ProjectCache()
    folder.write({"name": "aaa"})
    stamp = folder.file.stat().st_mtime_ns
    assert cache.project(folder.file).name == "aaa"

    folder.write({"name": "bbb"})
    os.utime(folder.file, ns=(stamp, stamp))

    assert cache.project(folder.file).name == "bbb"


def test_an_edit_is_seen_where_the_clock_of_the_file_system_stands_still(folder, monkeypatch):
    """Two writes in one tick leave equal stamps, so a stamp as young as that is not trusted."""
    stamp = (time.time_ns(), time.time_ns(), 3, 1)
    monkeypatch.setattr(files_module.time, "time_ns", lambda: stamp[0] + 10**6)
    monkeypatch.setattr(files_module, "_stamp", lambda status: stamp)
    cache = ProjectCache()
    folder.write({"name": "aaa"})
    assert cache.project(folder.file).name == "aaa"

    folder.write({"name": "bbb"})

    assert cache.project(folder.file).name == "bbb"


def test_a_file_replaced_by_another_is_seen(folder, tmp_path, monkeypatch):
    folder.write({"name": "old"})
    settle(monkeypatch)
    cache = ProjectCache()
    assert cache.project(folder.file).name == "old"
    stamp = folder.file.stat().st_mtime_ns
    (tmp_path / "new").write_text(folder.file.read_text().replace("old", "new"))
    os.utime(tmp_path / "new", ns=(stamp, stamp))

    (tmp_path / "new").replace(folder.file)

    assert cache.project(folder.file).name == "new"


def test_half_an_edit_is_waited_for(folder):
    folder.write({"name": "old"})
    clock = ScriptedClock(lambda: folder.write('{"name": '), lambda: folder.write({"name": "new"}))
    cache = ProjectCache(clock)
    cache.project(folder.file)

    folder.write("")

    assert cache.project(folder.file).name == "new"
    assert clock.waited == 2


def test_a_broken_project_is_an_error_each_time_and_waited_for_only_once(folder):
    folder.write("{")
    clock = ScriptedClock()
    cache = ProjectCache(clock)

    errors = []
    for _ in range(3):
        with pytest.raises(ConfigError, match="not valid JSON") as caught:
            cache.project(folder.file)
        errors.append(caught.value)

    assert clock.waited == 5
    assert len({id(error) for error in errors}) == 3


def test_a_broken_project_that_is_mended_works_again(folder):
    folder.write("{")
    cache = ProjectCache(ScriptedClock())
    with pytest.raises(ConfigError):
        cache.project(folder.file)

    folder.write({"name": "mended"})

    assert cache.project(folder.file).name == "mended"


def test_a_project_that_vanished_is_an_error(folder):
    folder.write({})
    cache = ProjectCache(ScriptedClock())
    cache.project(folder.file)

    folder.file.unlink()

    with pytest.raises(ConfigError, match="there is no such file"):
        cache.project(folder.file)


def test_a_flipped_feature_is_seen_without_a_restart(folder):
    folder.write({})
    assert current_project(folder.file).cache.enabled

    folder.write({"features": {"cache_enabled": False}})

    assert not current_project(folder.file).cache.enabled


def test_many_threads_see_whole_projects_while_it_is_edited(folder, tmp_path):
    """Every read is one of the versions written, never a mixture."""
    cache = ProjectCache()
    texts = {f"{number}" * 50_000 for number in range(4)}
    folder.with_agents("a")
    folder.add("agents/a.md", min(texts))
    stop = threading.Event()

    def read():
        seen = set()
        while not stop.is_set():
            seen.add(cache.project(folder.file).agent("a").text)
        return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for text in sorted(texts) * 10:
            new = tmp_path / "new.md"
            new.write_text(text)
            new.replace(folder.root / "agents/a.md")
        stop.set()

    assert set().union(*(reader.result() for reader in readers)) <= texts
