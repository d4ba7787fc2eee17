r"""What stands in an entry, and how do we know that nobody changed it?

An entry is one string of bytes: a head with its times, what the answer cost and its tags; the document; a
signature of 32 bytes. The signature covers the key, the head and the document as stored, so an entry that was
changed anywhere, or copied to another key, is none.

    1 CREATED FRESH KEEP COST ENCODING TAGS \n DOCUMENT SIGNATURE

Times are Unix milliseconds; the Lua scripts read them and the cost. The cost is in billionths of a dollar, or
`-` when the price is unknown.
"""

from __future__ import annotations

import hmac
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cf_workers.wire import canonical_json

FORMAT = b"1"
UNKNOWN_COST = b"-"
MAX_COST_NANOS = 10**15 - 1
_PLAIN, _ZLIB = b"json", b"zlib"
_SIGNATURE_BYTES = 32
_LEVEL = 6


class TamperedError(Exception):
    """The bytes are not an entry that a holder of the secret stored under this key."""


@dataclass(frozen=True)
class Head:
    """What an entry says of its document.

    Args:
        created_ms: when it was stored, Unix milliseconds like the next two.
        fresh_ms: until when it is given to anybody.
        keep_ms: until when it is given to those who ask for stale answers.
        cost_nanos: what the answer cost, in billionths of a dollar; `None`: unknown.
    """

    created_ms: int
    fresh_ms: int
    keep_ms: int
    cost_nanos: int | None
    tags: Mapping[str, str]

    @property
    def tags_text(self) -> str:
        """The tags on one line, ASCII only."""
        return json.dumps(dict(self.tags), sort_keys=True, separators=(",", ":"))


class Opened(NamedTuple):
    """An entry whose signature is right; see `Head`."""

    created_ms: int
    fresh_ms: int
    keep_ms: int
    cost_nanos: int | None
    tags_text: bytes
    document: Any
    document_bytes: int

    @property
    def tags(self) -> dict[str, str]:
        return dict(json.loads(self.tags_text))


def encode(document: Any) -> bytes:
    """The document as bytes.

    Raises:
        TypeError, ValueError: it is not JSON.
    """
    return canonical_json(document).encode("utf-8", "surrogatepass")


def seal(key: str, head: Head, document: bytes, secret: bytes, *, compress_above: int) -> bytes:
    """The signed entry.

    Args:
        compress_above: documents longer than so many bytes are compressed.
    """
    packed = len(document) > compress_above
    cost = UNKNOWN_COST if head.cost_nanos is None else b"%d" % head.cost_nanos
    times = (b"%d" % time for time in (head.created_ms, head.fresh_ms, head.keep_ms))
    first = b" ".join((FORMAT, *times, cost, _ZLIB if packed else _PLAIN, head.tags_text.encode("ascii")))
    unsigned = first + b"\n" + (zlib.compress(document, _LEVEL) if packed else document)
    return unsigned + _sign(key, unsigned, secret)


def unseal(key: str, entry: bytes, secret: bytes, *, max_bytes: int) -> Opened:
    """Open an entry; nothing of it is looked at before its signature is checked.

    Args:
        max_bytes: bound on the unpacked document.

    Raises:
        TamperedError: it is not what was stored under this key.
    """
    unsigned = entry[:-_SIGNATURE_BYTES]
    if not hmac.compare_digest(entry[-_SIGNATURE_BYTES:], _sign(key, unsigned, secret)):
        raise TamperedError("wrong signature")
    # Signed: from here on the content is ours, of this format or of another release's.
    try:
        first, body = unsigned.split(b"\n", 1)
        format_, created, fresh, keep, cost, encoding, tags = first.split(b" ", 6)
        if format_ != FORMAT:
            raise TamperedError("another format")
        document = _unpack(body, max_bytes) if encoding == _ZLIB else body
        return Opened(
            int(created),
            int(fresh),
            int(keep),
            None if cost == UNKNOWN_COST else int(cost),
            tags,
            json.loads(document.decode("utf-8", "surrogatepass")),
            len(document),
        )
    except (ValueError, RecursionError, zlib.error) as error:
        raise TamperedError("unreadable") from error


def _sign(key: str, unsigned: bytes, secret: bytes) -> bytes:
    # All keys have the same length, so key and entry cannot be cut differently.
    return hmac.digest(secret, key.encode("ascii") + unsigned, "sha256")


def _unpack(body: bytes, max_bytes: int) -> bytes:
    unpacking = zlib.decompressobj()
    document = unpacking.decompress(body, max_bytes + 1)
    if len(document) > max_bytes or not unpacking.eof or unpacking.unused_data:
        raise TamperedError("longer than allowed, or cut off")
    return document
