"""The tree of a JSON document."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.errors import GatewayError
from llmproxy.common.segments import decode
from llmproxy.common.segments.tree import tree_of

NUMBERS = st.from_regex(rb"-?(?:0|[1-9][0-9]{0,20})(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?", fullmatch=True)


def read(decoder: Callable[[bytes], Any], document: bytes) -> Any:
    try:
        return repr(decoder(document))
    except msgspec.DecodeError:
        return "refused"


@given(st.lists(NUMBERS))
def test_numbers_are_what_msgspec_takes_them_for(numbers: list[bytes]) -> None:
    document = b'{"x":[%b]}' % b",".join(numbers)
    assert read(tree_of, document) == read(msgspec.json.decode, document)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1e309"])
def test_a_number_that_nothing_can_hold_is_refused(number: bytes) -> None:
    with pytest.raises(GatewayError, match="not valid JSON"):
        decode(b'{"x": [%b]}' % number)


def cpu_s(document: bytes) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.thread_time()
        decode(document)
        best = min(best, time.thread_time() - began)
    return best


def test_a_number_with_a_great_exponent_takes_hardly_longer_than_one_without() -> None:
    few, great = (b'{"x":[%b]}' % b",".join([number] * 4_000) for number in (b"1.5", b"1.5e300"))
    assert cpu_s(great) < 15 * cpu_s(few)
