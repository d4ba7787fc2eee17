"""Where does a worker find what a run is pinned to? In the store, under the digest of its content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cf_workers._redis import Keys, RedisClient, Script
from cf_workers.errors import DefinitionMissingError
from cf_workers.workflows.keyed_cache import KeyedCache

_PIN = Script(__package__, "pin")
_UNPIN = Script(__package__, "unpin")
_CACHED = 512


class Definitions:
    """Texts by digest, shared by all runs that use them, and gone one retention after the last of those."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._texts = KeyedCache(self._read, size=_CACHED)

    def pin(self, run: str, texts: Mapping[str, str], ttl: float) -> None:
        """Store each text under its digest for as long as `run` is active.

        Args:
            ttl: seconds after which they go even if the run never ends.
        """
        self._each(run, texts, ttl)

    def repin(self, run: str, digests: Iterable[str], ttl: float) -> None:
        """Keep what a run used before for another attempt of it."""
        self._each(run, dict.fromkeys(digests, ""), ttl)

    def unpin(self, run: str, digests: Iterable[str], retention: float) -> None:
        """Note that `run` has ended; what nobody else uses lives for `retention` seconds more."""
        with self._client.pipeline(transaction=False) as pipe:
            for digest in digests:
                _UNPIN(pipe, self._of(digest), {"run": run, "retention": max(1, int(retention))})
            pipe.execute()

    def get(self, digest: str) -> str:
        """The text under a digest.

        Raises:
            DefinitionMissingError: it is not in the store any more.
        """
        return self._texts.get(digest)

    def _read(self, digest: str) -> str:
        text = self._client.get(self._keys.definition(digest))
        if text is None:
            raise DefinitionMissingError(
                f"definition {digest[:12]} is not in the store any more",
                {"digest": digest, "hint": "start the run again from its project"},
            )
        return str(text)

    def _each(self, run: str, texts: Mapping[str, str], ttl: float) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            for digest, text in texts.items():
                _PIN(pipe, self._of(digest), {"run": run, "text": text, "ttl": int(ttl)})
            pipe.execute()

    def _of(self, digest: str) -> dict[str, str]:
        return {"definition": self._keys.definition(digest), "users": self._keys.definition_users(digest)}
