r"""What stands in an entry, and how do we know that nobody changed it?

An entry is one string of bytes: a head with its times, what the answer cost and its tags, a signature, the
document. The signature covers the key, the head and the document as stored, so an entry that was changed
anywhere, or copied to another key, is none.

    1 CREATED FRESH KEEP COST ENCODING TAGS \n SIGNATURE \n BODY

Times are Unix milliseconds; the Lua scripts read them and the cost. The cost is in billionths of a dollar, or
`-` when the price is unknown.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cf_workers.wire import canonical_json

FORMAT = "1"
UNKNOWN_COST = "-"
MAX_COST_NANOS = 10**15 - 1
_PLAIN, _ZLIB = "json", "zlib"
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


@dataclass(frozen=True)
class Opened:
    """An entry whose signature is right."""

    head: Head
    document: Any
    document_bytes: int


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
    cost = UNKNOWN_COST if head.cost_nanos is None else str(head.cost_nanos)
    fields = (
        FORMAT,
        head.created_ms,
        head.fresh_ms,
        head.keep_ms,
        cost,
        _ZLIB if packed else _PLAIN,
        head.tags_text,
    )
    first = " ".join(str(field) for field in fields).encode("ascii")
    body = zlib.compress(document, _LEVEL) if packed else document
    return b"\n".join((first, _sign(key, first, body, secret), body))


def unseal(key: str, entry: bytes, secret: bytes, *, max_bytes: int) -> Opened:
    """Open an entry; nothing of it is looked at before its signature is checked.

    Args:
        max_bytes: bound on the unpacked document.

    Raises:
        TamperedError: it is not what was stored under this key.
    """
    pieces = entry.split(b"\n", 2)
    if len(pieces) != 3:  # noqa: PLR2004
        raise TamperedError("no entry")
    first, signature, body = pieces
    if not hmac.compare_digest(signature, _sign(key, first, body, secret)):
        raise TamperedError("wrong signature")
    # Signed: from here on the content is ours, of this format or of another release's.
    try:
        fields = first.decode("ascii").split(" ", 6)
        if fields[0] != FORMAT:
            raise TamperedError("another format")
        _, created, fresh, keep, cost, encoding, tags = fields
        document = _unpack(body, max_bytes) if encoding == _ZLIB else body
        head = Head(
            int(created), int(fresh), int(keep), None if cost == UNKNOWN_COST else int(cost), json.loads(tags)
        )
        return Opened(head, json.loads(document.decode("utf-8", "surrogatepass")), len(document))
    except (ValueError, RecursionError, zlib.error) as error:
        raise TamperedError("unreadable") from error


def _sign(key: str, first: bytes, body: bytes, secret: bytes) -> bytes:
    # Neither a digest nor a head contains a line end, so the three cannot be cut differently.
    return hmac.digest(secret, b"\n".join((key.encode("ascii"), first, body)), hashlib.sha256).hex().encode()


def _unpack(body: bytes, max_bytes: int) -> bytes:
    unpacking = zlib.decompressobj()
    document = unpacking.decompress(body, max_bytes + 1)
    if len(document) > max_bytes or not unpacking.eof or unpacking.unused_data:
        raise TamperedError("longer than allowed, or cut off")
    return document
