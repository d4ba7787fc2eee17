r"""What stands in an entry, and how do we know that nobody changed it?

An entry is one string of bytes: a head with its times, what the answer cost and its tags; the document; a
signature of 32 bytes. The signature covers the key, the head and the document as stored, so an entry that was
changed anywhere, or copied to another key, is none.

    2 CREATED FRESH KEEP COST ENCODING SIZE TAGS \n [NAME,REST] \n TEXT SIGNATURE

Times are Unix milliseconds; the Lua scripts read them and the cost. The cost is in billionths of a dollar, or
`-` when the price is unknown.

The longest text of a document stands outside its JSON, and only it is compressed: a hit decodes it in one
go, instead of looking through it for escapes. It is the value under NAME of the object REST; without NAME
there is none, without REST it is the document. SIZE is that of the text unpacked. LZ4 unpacks some ten times
as fast as zlib, at two thirds of its gain.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lz4 import block as lz4

from cf_workers.wire import canonical_json

FORMAT = b"2"
UNKNOWN_COST = b"-"
MAX_COST_NANOS = 10**15 - 1
_PLAIN, _LZ4 = b"plain", b"lz4"
_SIGNATURE_BYTES = 32
_LEVEL = 4
"""Of LZ4's thorough compression, from 3 to 12: with the ones above, time grows and little else."""


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


class Encoded(NamedTuple):
    """A document as bytes: `[name, rest]` in JSON, and its longest text."""

    rest: bytes
    text: bytes

    @property
    def size(self) -> int:
        return len(self.rest) + len(self.text)


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


def encode(document: Any) -> Encoded:
    """The document as bytes.

    Raises:
        TypeError, ValueError: it is not JSON.
    """
    if isinstance(document, str):
        return Encoded(b'["",null]', _bytes(document))
    members = document.items() if isinstance(document, dict) else ()
    texts = [(name, text) for name, text in members if isinstance(name, str) and isinstance(text, str)]
    if not texts:
        return Encoded(_bytes(canonical_json([None, document])), b"")
    longest, text = max(texts, key=lambda named: len(named[1]))
    rest = {name: value for name, value in document.items() if name != longest}
    return Encoded(_bytes(canonical_json([longest, rest])), _bytes(text))


def seal(key: str, head: Head, document: Encoded, secret: bytes, *, compress_above: int) -> bytes:
    """The signed entry.

    Args:
        compress_above: texts longer than so many bytes are compressed, if that makes them shorter.
    """
    encoding, body = _PLAIN, document.text
    if len(body) > compress_above:
        packed = lz4.compress(body, mode="high_compression", compression=_LEVEL, store_size=False)
        encoding, body = (_LZ4, packed) if len(packed) < len(body) else (_PLAIN, body)
    times = (b"%d" % time for time in (head.created_ms, head.fresh_ms, head.keep_ms))
    cost = UNKNOWN_COST if head.cost_nanos is None else b"%d" % head.cost_nanos
    size = b"%d" % len(document.text)
    first = b" ".join((FORMAT, *times, cost, encoding, size, head.tags_text.encode("ascii")))
    unsigned = b"\n".join((first, document.rest, body))
    return unsigned + _sign(key, unsigned, secret)


def unseal(key: str, entry: bytes, secret: bytes, *, max_bytes: int) -> Opened:
    """Open an entry; nothing of it is looked at before its signature is checked.

    Args:
        max_bytes: bound on the unpacked document.

    Raises:
        TamperedError: it is not what was stored under this key.
    """
    view = memoryview(entry)
    if not hmac.compare_digest(view[-_SIGNATURE_BYTES:], _sign(key, view[:-_SIGNATURE_BYTES], secret)):
        raise TamperedError("wrong signature")
    # Signed: from here on the content is ours, of this format or of another release's.
    try:
        first = entry.index(b"\n")
        second = entry.index(b"\n", first + 1)
        format_, created, fresh, keep, cost, encoding, size, tags = entry[:first].split(b" ", 7)
        if format_ != FORMAT:
            raise TamperedError("another format")
        document_bytes = second - first - 1 + int(size)
        if document_bytes > max_bytes:
            raise TamperedError("longer than allowed")
        text = _text(view[second + 1 : -_SIGNATURE_BYTES], encoding, int(size))
        return Opened(
            int(created),
            int(fresh),
            int(keep),
            None if cost == UNKNOWN_COST else int(cost),
            tags,
            _joined(entry[first + 1 : second], text),
            document_bytes,
        )
    except (ValueError, TypeError, RecursionError, lz4.LZ4BlockError) as error:
        raise TamperedError("unreadable") from error


def _sign(key: str, unsigned: bytes | memoryview, secret: bytes) -> bytes:
    # All keys have the same length, so key and entry cannot be cut differently.
    return hmac.digest(secret, b"".join((key.encode("ascii"), unsigned)), "sha256")


def _text(body: memoryview, encoding: bytes, size: int) -> str:
    """The text of an entry; nothing is unpacked beyond the size that was signed with it."""
    unpacked = lz4.decompress(body, uncompressed_size=size) if encoding == _LZ4 else body
    if len(unpacked) != size:
        raise TamperedError("cut off")
    return str(unpacked, "utf-8", "surrogatepass")


def _joined(rest: bytes, text: str) -> Any:
    name, document = json.loads(rest.decode("utf-8", "surrogatepass"))
    if name is None:
        return document
    if document is None:
        return text
    document[name] = text
    return document


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
