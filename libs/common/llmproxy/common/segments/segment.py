"""One text of a body, whose it is, and where it is written."""

from typing import Literal

from msgspec import Struct

from llmproxy.common.segments.names import KNOWN_KEYS

TEXT_CHARS_MIN = 5  # Shorter strings cannot hold anything that a guard looks for (`::1.2`, `a@b.c`).
NUMBER_CHARS_MIN = 9
NUMBER_MIN = 99_999_999  # Numbers of nine digits and more can be a card, a phone or a social security number.
LABEL_CHARS_MAX = 64
BESIDE_CHARS_MAX = 1_024  # Of a value that is read beside its name: no name tells of what comes later.

Form = Literal["value", "key", "number", "document"]
"""A document is the text of a file; where it is written is not known here."""


class Segment(Struct, frozen=True, kw_only=True):
    """One text, whose it is, and where it is written."""

    role: str  # system, developer, user, assistant, tool, function; definition; parameter.
    path: str  # `messages[3].content[0].text`; a key that is not a plain name is written `*`.
    text: str  # Decoded.
    form: Form = "value"
    start: int = 0  # Of the undecoded text, in the document that holds it (the body, or the text of `host`).
    raw: str = ""  # The undecoded text when that differs from `text`.
    host: "Segment | None" = None  # The string in which this document is embedded.
    label: str = ""  # The name of a value in what tools fill: `password` says what the value is.


def beside(label: str, text: str, *, is_number: bool = False) -> tuple[str, int]:
    """A value as it stands beside its name in a document, and where it begins there."""
    quote = "" if is_number else '"'
    before = f'"{label}": {quote}'
    return f"{before}{text[:BESIDE_CHARS_MAX]}{quote}", len(before)


def is_telling(name: str) -> bool:
    """Whether the name of a value may say what it is."""
    return name not in KNOWN_KEYS and len(name) <= LABEL_CHARS_MAX
