"""What only says where a secret goes: by cues, and by what one expression for all of it would say."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmproxy.shield.drawn import is_stand_in, says_where

EXPRESSION = re.compile(
    r"^\$[{(A-Z_]|\$[{(]|<|>|\{|\}|%\(|%[A-Z_]{3,}%|\*{3}|\.{3}|x{4}|redacted|placeholder|change_?me|your[_-]|my[_-]?(?:pass|secret|token|key|api)"
    r"|_here\b|example_|process\.env|environ|getenv|settings\.|config\.|secrets?\.|self\.|this\.|null\b|none\b|true\b|false\b"
    r"|undefined|required|optional|string|\[[A-Z_]+_|^op://|^enc\[|^ref\+",
    re.IGNORECASE,
)
PIECES = (
    *(
        "$",
        "{",
        "(",
        "%",
        "*",
        ".",
        "x",
        "X",
        "_",
        "-",
        "[",
        "A",
        "a",
        "1",
        " ",
        "é",
        "\u0130",
        "\u0131",
        "\u017f",
        "\u212a",
    ),
    *(
        "redacted",
        "change",
        "me",
        "your",
        "MY",
        "pass",
        "key",
        "_here",
        "example",
        "environ",
        "settings",
        "config",
        "secret",
    ),
    *(
        "self",
        "th\u0131s",
        "null",
        "None",
        "tr\u00fce",
        "true",
        "undef\u0130ned",
        "\u017ftring",
        "\u212aey",
        "api",
        "op://",
        "enc",
        "ref+",
    ),
)


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@example("$HOME")
@example("%PASSWORD%")
@example("[YOUR_KEY]")
def test_the_cues_say_what_the_expression_says(value: str) -> None:
    assert says_where(value) is (EXPRESSION.search(value) is not None)


@pytest.mark.parametrize("value", ["${DB_PASSWORD}", "<password>", "your-key", "changeme", "aaaaaaaa", "********"])
def test_a_stand_in_is_known(value: str) -> None:
    assert is_stand_in(value)


def test_a_secret_is_none() -> None:
    assert not is_stand_in("hunter2correct")
