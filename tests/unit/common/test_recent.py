"""The digests by which texts are remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.recent import siphash

WORD = 0xFFFFFFFFFFFFFFFF


@pytest.mark.parametrize(
    ("length", "digest"),
    [(0, "a3817f04ba25a8e66df67214c7550293"), (1, "da87c1d86b99af44347659119b22fc45")],
)
def test_it_is_the_published_siphash(length: int, digest: str) -> None:
    """https://github.com/veorq/SipHash/blob/master/vectors.h"""
    assert siphash(bytes(range(16)), bytes(range(length))).hex() == digest


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=70))
def test_a_digest_is_what_the_specification_says(key: bytes, text: bytes) -> None:
    assert siphash(key, text) == specified(key, text)


def specified(key: bytes, text: bytes) -> bytes:
    """https://cr.yp.to/siphash/siphash-20120918.pdf, with two halves."""
    one, other = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    state = [one ^ 0x736F6D6570736575, other ^ 0x646F72616E646F6D, one ^ 0x6C7967656E657261, other ^ 0x7465646279746573]
    state[1] ^= 0xEE
    end = text[len(text) // 8 * 8 :].ljust(7, b"\0") + bytes((len(text) & 255,))
    for at in range(0, len(text) // 8 * 8 + 8, 8):
        word = int.from_bytes(text[at : at + 8] if at + 8 <= len(text) else end, "little")
        state[3] ^= word
        rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xEE
    rounds(state, 4)
    low = state[0] ^ state[1] ^ state[2] ^ state[3]
    state[1] ^= 0xDD
    rounds(state, 4)
    high = state[0] ^ state[1] ^ state[2] ^ state[3]
    return low.to_bytes(8, "little") + high.to_bytes(8, "little")


def rounds(state: list[int], count: int) -> None:
    def rotated(word: int, by: int) -> int:
        return (word << by | word >> (64 - by)) & WORD

    for _ in range(count):
        a, b, c, d = state
        a = (a + b) & WORD
        b = rotated(b, 13) ^ a
        a = rotated(a, 32)
        c = (c + d) & WORD
        d = rotated(d, 16) ^ c
        a = (a + d) & WORD
        d = rotated(d, 21) ^ a
        c = (c + b) & WORD
        b = rotated(b, 17) ^ c
        c = rotated(c, 32)
        state[:] = [a, b, c, d]
