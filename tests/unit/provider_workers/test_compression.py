"""Compressed answers: unpacked as they arrive, at any split, and never to more than their size allows."""

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.provider_workers.compression import GRACE_BYTES, RATIO_MAX, Inflate, Unpackable

TEXT = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n' * 40


def packed(coding: str, data: bytes) -> bytes:
    match coding:
        case "gzip":
            return gzip.compress(data, mtime=0)  # The same bytes each time: they name a test.
        case "bare":
            maker = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            return maker.compress(data) + maker.flush()
    return zlib.compress(data)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare"])
@given(data=st.binary(max_size=2_000), cuts=st.lists(st.integers(0, 3_000), max_size=8))
def test_what_was_packed_comes_out_at_any_split(coding: str, data: bytes, cuts: list[int]) -> None:
    whole = packed(coding, data)
    inflate = Inflate("gzip" if coding == "gzip" else "deflate")
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    assert b"".join(inflate.feed(whole[start:end]) for start, end in pairwise(edges)) == data
    assert inflate.is_whole


def test_an_event_is_told_when_it_was_flushed() -> None:
    maker, inflate = zlib.compressobj(wbits=zlib.MAX_WBITS | 16), Inflate("gzip")
    for number in range(3):
        event = b"data: %d\n\n" % number
        assert inflate.feed(maker.compress(event) + maker.flush(zlib.Z_SYNC_FLUSH)) == event
    assert not inflate.is_whole


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_refused_before_it_is_in_memory(coding: str) -> None:
    bomb = packed(coding, bytes(64 << 20))
    told: list[int] = []

    def unpack() -> None:
        inflate = Inflate(coding)
        for start in range(0, len(bomb), 4_096):
            told.append(len(inflate.feed(bomb[start : start + 4_096])))

    with pytest.raises(Unpackable, match="times its size"):
        unpack()
    assert sum(told) <= GRACE_BYTES + RATIO_MAX * 4_096 * len(told)
    assert sum(told) < 8 << 20


@pytest.mark.parametrize("data", [b"not packed", packed("gzip", TEXT)[:10] + b"\xff" * 40])
def test_what_is_not_what_it_says_is_refused(data: bytes) -> None:
    with pytest.raises(Unpackable):
        Inflate("gzip").feed(data)


def test_what_follows_the_end_is_refused_and_half_a_body_is_not_whole() -> None:
    with pytest.raises(Unpackable, match="follows"):
        Inflate("gzip").feed(packed("gzip", TEXT) + b"more")
    half = Inflate("gzip")
    half.feed(packed("gzip", TEXT)[:-6])
    assert not half.is_whole
