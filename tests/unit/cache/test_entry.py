"""How do we know that nobody changed an entry?"""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.cache import entry
from cf_workers.cache.entry import Head, TamperedError, encode, seal, unseal

KEY, OTHER_KEY = "a" * 64, "b" * 64
SECRET = b"secret"
LIMIT = 1_000_000
HEAD = Head(1_000, 2_000, 3_000, 42, {"agent": "reviewer", "model": "m"})


def sealed(document="an answer", head=HEAD, key=KEY, above=10_000) -> bytes:
    return seal(key, head, encode(document), SECRET, compress_above=above)


@given(
    document=st.text() | st.dictionaries(st.text(), st.integers() | st.text() | st.none()),
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


def test_a_document_that_unpacks_beyond_the_bound_is_not_unpacked_further(monkeypatch):
    bomb = seal(KEY, HEAD, b'"' + b"0" * 50_000_000 + b'"', SECRET, compress_above=0)
    unpacked = []

    class Watched:
        def __init__(self):
            self._real = zlib_decompressobj()

        def decompress(self, body, most):
            unpacked.append(self._real.decompress(body, most))
            return unpacked[-1]

        def __getattr__(self, name):
            return getattr(self._real, name)

    zlib_decompressobj = zlib.decompressobj
    monkeypatch.setattr(entry.zlib, "decompressobj", Watched)

    with pytest.raises(TamperedError):
        unseal(KEY, bomb, SECRET, max_bytes=LIMIT)
    assert len(bomb) < 60_000
    assert sum(map(len, unpacked)) <= LIMIT + 1


@pytest.mark.parametrize("document", [b"not json", b"\xff\xfe", b"[" * 200_000])
def test_a_signed_document_that_cannot_be_read_is_no_entry(document):
    with pytest.raises(TamperedError):
        unseal(KEY, seal(KEY, HEAD, document, SECRET, compress_above=10**9), SECRET, max_bytes=LIMIT)


def test_long_documents_are_compressed_and_short_ones_are_not():
    text = "the same words again " * 500

    assert len(sealed(text, above=4_096)) < len(text) / 10
    assert len(sealed(text, above=100_000)) > len(text)
