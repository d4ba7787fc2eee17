"""With which secret are entries signed?"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Protocol

from cf_workers._redis import Keys, RedisClient
from cf_workers.errors import ConfigError

log = logging.getLogger(__name__)

SECRET_VARIABLE = "CLAUDE_CACHE_SECRET"  # noqa: S105
ENVIRONMENT_VARIABLE = "CLAUDE_ENV"
PRODUCTION = "production"
_SECRET_BYTES = 32


class SecretSource(Protocol):
    """Whoever knows the secret."""

    def get(self) -> bytes:
        """The secret; may raise `redis.RedisError` where it is kept on the server."""
        ...

    def doubt(self) -> None:
        """Note that an entry did not fit the secret: it may have changed."""
        ...


class GivenSecret:
    """A secret from the configuration."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "GivenSecret(…)"

    def get(self) -> bytes:
        return self._secret

    def doubt(self) -> None:
        """A configured secret stays what it is."""


class SharedSecret:
    """A secret that the first process to need one generates, kept beside the entries: for development.

    It keeps out mistakes, not somebody who can write to the server.
    """

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._secret: bytes | None = None

    def get(self) -> bytes:
        # No lock: on a server that hangs, threads would wait for one another's time-outs.
        found = self._secret
        if found is None:
            self._secret = found = self._read()
        return found

    def doubt(self) -> None:
        """Read it again: the server may have been emptied and another process have generated a new one."""
        self._secret = None

    def _read(self) -> bytes:
        generated = secrets.token_hex(_SECRET_BYTES)
        if self._client.set(self._keys.cache_secret, generated, nx=True):
            log.warning(
                "cache.secret_generated hint=%s",
                f"kept in Redis, for development only; set {SECRET_VARIABLE} to sign with your own",
            )
            return generated.encode()
        found = self._client.get(self._keys.cache_secret)
        if found is None:
            return self._read()
        return found if isinstance(found, bytes) else str(found).encode()


def signing_secret(environ: Mapping[str, str], client: RedisClient, keys: Keys) -> SecretSource:
    """Where the secret comes from: `CLAUDE_CACHE_SECRET`, or outside production the server itself.

    Raises:
        ConfigError: in production (`CLAUDE_ENV=production`) no secret is set.
    """
    if given := environ.get(SECRET_VARIABLE, "").strip():
        return GivenSecret(given.encode("utf-8", "surrogateescape"))
    if environ.get(ENVIRONMENT_VARIABLE, "").strip().lower() == PRODUCTION:
        raise ConfigError(
            f"{SECRET_VARIABLE} is not set, and in production nothing is cached without it",
            {
                "hint": f"set {SECRET_VARIABLE} to one long random text on every host,"
                " or cache.enabled to false"
            },
        )
    return SharedSecret(client, keys)
