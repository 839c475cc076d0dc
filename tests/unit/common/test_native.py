"""The native library: each of its functions says what a few lines of Python say, of every input."""

import ctypes
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common import native

MARKS = native.function(
    "llmproxy_marks", ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t)
)
PATTERNS = {
    1: rb"\\[ux]\{?[0-9a-fA-F]{2}",
    2: rb"%[0-9a-fA-F]{2}",
    4: rb"&(?:#|[a-zA-Z]{2,8};)",
    8: rb"[\x80-\xff]",
    16: rb"(?=[a-z+/_-]{0,15}[A-Z0-9])[A-Za-z0-9+/_-]{16,}|[a-z+/_-]{16,}[A-Z0-9]|(?:[0-9a-fA-F]{2}[ ,:]){8}",
}
TRICKY = st.lists(
    st.sampled_from(
        [b"\\", b"u", b"x", b"{", b"%", b"4", b"aF", b"&", b"#", b"lt", b";", b"abcdefgh", b"-", b"4a 4b:4c,", b"\xff"]
    )
)


def marked(text: bytes) -> tuple[int, int]:
    first = ctypes.c_size_t()
    return MARKS(text, len(text), ctypes.byref(first)), first.value


@given(st.binary() | TRICKY.map(b"".join))
def test_marks_are_those_of_their_expressions(text: bytes) -> None:
    places = {bit: found.start() for bit, mark in PATTERNS.items() if (found := re.search(mark, text))}
    found, first = marked(text)
    assert found == sum(places)
    assert (first == len(text)) if not places else first <= max(places.values())


def test_a_length_is_the_end_whatever_stands_behind_it() -> None:
    first = ctypes.c_size_t()
    for text in (b"\\u0069", b"%41", b"&lt;", b"&#1", b"abcdefghijklmno1"):
        for length in range(2 if text[:1] in b"&" else 3):
            assert MARKS(text, length, ctypes.byref(first)) == 0


def test_a_library_that_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "_native.so")
    with pytest.raises(ImportError, match="uv sync --reinstall-package llmproxy-common"):
        native.function("llmproxy_marks", ctypes.c_uint32)
