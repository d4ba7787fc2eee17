"""How do we know that nobody changed an entry?"""

from __future__ import annotations

import hmac
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.cache import entry
from cf_workers.cache.entry import Encoded, Head, TamperedError, encode, seal, unseal

KEY, OTHER_KEY = "a" * 64, "b" * 64
SECRET = b"secret"
LIMIT = 1_000_000
HEAD = Head(1_000, 2_000, 3_000, 42, {"agent": "reviewer", "model": "m"})


def sealed(document="an answer", head=HEAD, key=KEY, above=10_000) -> bytes:
    return seal(key, head, encode(document), SECRET, compress_above=above)


@given(
    document=st.text()
    | st.none()
    | st.lists(st.text())
    | st.dictionaries(st.text(st.characters(exclude_categories=())), st.integers() | st.text() | st.none()),
    cost=st.none() | st.integers(0, 10**15 - 1),
    tags=st.dictionaries(st.text(), st.text(), max_size=3),
    above=st.sampled_from([0, 20, 10_000]),
)
def test_what_was_sealed_is_opened_as_it_was(document, cost, tags, above):
    head = Head(1, 2, 3, cost, tags)

    opened = unseal(KEY, sealed(document, head, above=above), SECRET, max_bytes=LIMIT)

    assert opened.document == document
    assert (opened.created_ms, opened.fresh_ms, opened.keep_ms) == (1, 2, 3)
    assert opened.cost_nanos == cost
    assert opened.tags == tags


@given(st.data())
def test_a_change_of_any_bit_is_seen(data):
    original = sealed(above=data.draw(st.sampled_from([0, 10_000])))
    at = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(TamperedError):
        unseal(KEY, bytes(changed), SECRET, max_bytes=LIMIT)


@given(st.binary(max_size=200))
def test_bytes_that_nobody_signed_are_no_entry(noise):
    with pytest.raises(TamperedError):
        unseal(KEY, noise, SECRET, max_bytes=LIMIT)


@given(st.integers(1, 40))
def test_an_entry_that_was_cut_is_none(lost):
    with pytest.raises(TamperedError):
        unseal(KEY, sealed()[:-lost], SECRET, max_bytes=LIMIT)


def test_an_entry_of_another_key_or_another_secret_is_none():
    with pytest.raises(TamperedError):
        unseal(OTHER_KEY, sealed(), SECRET, max_bytes=LIMIT)
    with pytest.raises(TamperedError):
        unseal(KEY, sealed(), b"another secret", max_bytes=LIMIT)


def test_a_document_that_unpacks_beyond_the_bound_is_not_unpacked(monkeypatch):
    bomb = sealed("0" * 50_000_000, above=0)
    asked = []

    def watched(body, uncompressed_size):
        asked.append(uncompressed_size)
        return unpack(body, uncompressed_size=uncompressed_size)

    unpack = entry.lz4.decompress
    monkeypatch.setattr(entry.lz4, "decompress", watched)

    with pytest.raises(TamperedError):
        unseal(KEY, bomb, SECRET, max_bytes=LIMIT)
    assert unseal(KEY, bomb, SECRET, max_bytes=50_000_100).document == "0" * 50_000_000
    assert len(bomb) < 250_000
    assert asked == [50_000_000]


@pytest.mark.parametrize("claimed", [0, 1, 9_999, 10_001, 100_000])
def test_a_text_of_another_size_than_the_entry_says_is_none(claimed):
    """Nobody without the secret can say so, but another release may be wrong."""
    right = signed(sealed("0" * 10_000, above=0)[:-32])
    wrong = signed(right[:-32].replace(b" lz4 10000 ", b" lz4 %d " % claimed))

    assert unseal(KEY, right, SECRET, max_bytes=LIMIT).document == "0" * 10_000
    with pytest.raises(TamperedError):
        unseal(KEY, wrong, SECRET, max_bytes=LIMIT)


@pytest.mark.parametrize(
    "encoded",
    [
        Encoded(b"not json", b""),
        Encoded(b"\xff\xfe", b""),
        Encoded(b"[" * 200_000, b""),
        Encoded(b"{}", b""),
        Encoded(b'["name",7]', b"text"),
        Encoded(b'["",null]', b"\xff\xfe"),
        Encoded(b'["",\nnull]', b"text"),
    ],
)
def test_a_signed_document_that_cannot_be_read_is_no_entry(encoded):
    with pytest.raises(TamperedError):
        unseal(KEY, seal(KEY, HEAD, encoded, SECRET, compress_above=10**9), SECRET, max_bytes=LIMIT)


def test_an_entry_of_another_format_is_none():
    other = signed(b"1" + sealed()[1:-32])

    with pytest.raises(TamperedError):
        unseal(KEY, other, SECRET, max_bytes=LIMIT)


def test_long_texts_are_compressed_and_short_ones_are_not():
    text = "the same words again " * 500
    document = {"output": text, "model": "m", "usage": {"input_tokens": 1}}

    assert len(sealed(document, above=4_096)) < len(text) / 10
    assert len(sealed(document, above=100_000)) > len(text)


def test_a_text_that_does_not_pack_is_stored_as_it_is():
    noise = "".join(map(chr, random.Random(1).choices(range(33, 127), k=5_000)))

    assert len(sealed(noise, above=0)) == len(sealed(noise, above=10**9))
    assert unseal(KEY, sealed(noise, above=0), SECRET, max_bytes=LIMIT).document == noise


def signed(unsigned: bytes) -> bytes:
    """What a holder of the secret may have signed, whether it is an entry or not."""
    return unsigned + hmac.digest(SECRET, KEY.encode() + unsigned, "sha256")
