"""How does a Lua file become a call with named keys and arguments?

A script's header names what it takes, and the loader gives these names to the code as `K.name` and `A.name`:

    -- Renews claims.
    -- KEYS: claims
    -- ARGV: members
    -- RETURNS: the number renewed
    -- REPEAT: safe

What several scripts of a room share stands in files of its own, without such a header; a script names them,
in order, in a further line `-- USES: …`, and they are put before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from typing import Any

import redis
from redis.client import Pipeline

from cf_workers.wire import canonical_json

_HEADER = re.compile(r"^-- (KEYS|ARGV|RETURNS|REPEAT|USES):[ ]*(.*)$", re.MULTILINE)

_AS_THEY_ARE = frozenset({str, int, float, bytes})


_ALL: list[Script] = []


class Script:
    """One Lua file, called with keys and arguments by name.

    Raises:
        ValueError: the header lacks one of KEYS, ARGV, RETURNS and REPEAT.
    """

    def __init__(self, package: str, name: str) -> None:
        text = _text(package, name)
        header = dict(_HEADER.findall(text))
        if missing := {"KEYS", "ARGV", "RETURNS", "REPEAT"} - header.keys():
            raise ValueError(f"{package}/scripts/{name}.lua: the header lacks {sorted(missing)}")
        self.name = name
        self.keys = tuple(header["KEYS"].split())
        self.args = tuple(header["ARGV"].split())
        shared = "".join(_text(package, part) for part in header.get("USES", "").split())
        self.source = f"{_table('K', 'KEYS', self.keys)} {_table('A', 'ARGV', self.args)}\n{shared}{text}"
        self._script = redis.Redis().register_script(self.source)
        _ALL.append(self)

    def __call__(self, client: Any, keys: Mapping[str, str], args: Mapping[str, Any]) -> Any:
        """Run it on `client` (or queue it on a pipeline).

        Args:
            keys: every name of the KEYS header.
            args: every name of the ARGV header; numbers and strings as they are, `None` as the empty
                string, booleans as 1 and 0, everything else as JSON.

        Raises:
            TypeError: names are missing or unknown.
        """
        try:
            named = [keys[name] for name in self.keys]
            given = [_argument(args[name]) for name in self.args]
        except KeyError:
            raise self._misuse() from None
        if len(keys) != len(named) or len(args) != len(given):
            raise self._misuse()
        execute = client.execute_command
        if isinstance(client, Pipeline):
            # By its text: redis-py would ask before each pipeline whether the server knows the script.
            return execute("EVAL", self.source, len(named), *named, *given)
        try:
            return execute("EVALSHA", self._script.sha, len(named), *named, *given)
        except redis.exceptions.NoScriptError:
            return self._script(keys=named, args=given, client=client)

    def on(self, client: Any, keys: Mapping[str, str]) -> Callable[..., Any]:
        """The script with its keys and client settled: a call with bare arguments in the header's order.

        See `bare`.
        """
        return partial(self.bare(client), *(keys[name].encode() for name in self.keys))

    def bare(self, client: Any) -> Callable[..., Any]:
        """The script with its client settled: a call with bare keys and arguments in the header's order.

        For the few places where microseconds count; not for pipelines. It speaks to the connection itself,
        which spares half of what redis-py does around a command; only when that fails, redis-py goes on.
        """
        count = len(self.keys)
        command = ("EVALSHA", self._script.sha, count)
        pool, execute, script = client.connection_pool, client.execute_command, self._script

        def call(*given: Any) -> Any:
            connection = pool.get_connection()
            try:
                connection.send_command(*command, *given)
                return connection.read_response()
            except redis.exceptions.NoScriptError:
                again = partial(script, keys=given[:count], args=given[count:], client=client)
            except redis.ConnectionError:  # it has been closed; the client's own rule says how often to try
                again = partial(execute, *command, *given)
            finally:
                pool.release(connection)
            return again()

        return call

    def _misuse(self) -> TypeError:
        return TypeError(f"{self.name}.lua takes KEYS {self.keys} and ARGV {self.args}")


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")


def load_scripts(client: Any) -> None:
    """Let the server compile every script that this process knows, so that no first call has to."""
    with client.pipeline(transaction=False) as pipe:
        for script in _ALL:
            pipe.script_load(script.source)
        pipe.execute()


def _table(name: str, source: str, fields: tuple[str, ...]) -> str:
    entries = ",".join(f"{field}={source}[{index}]" for index, field in enumerate(fields, 1))
    return f"local {name}={{{entries}}}"


def _argument(value: Any) -> Any:
    if type(value) in _AS_THEY_ARE:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int | float | bytes):
        return value
    return canonical_json(value)
