r"""A plain view of a text that was written to be overlooked: full-width or foreign digits, odd spaces, invisible characters,
and \u escapes. Spans in the view map back to spans in the text.
"""

import re
import unicodedata
from collections.abc import Sequence

from msgspec import Struct

VIEW_CHARS_PER_CHAR_MAX = 4
"""A compatibility character that stands for a whole phrase (U+FDFA: 18 characters) is left as it is."""

UNUSUAL = re.compile(
    "[\u00a0\u00ad\u00aa\u00b2\u00b3\u00b9\u00ba\u034f\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u1680\u17b4\u17b5"
    "\u180b-\u180f\u1d2c-\u1d6a\u2000-\u200f\u2024\u2028-\u202f\u2010-\u2015\u205f-\u209f\u2100-\u214f\u2150-\u2189\u2212"
    "\u2460-\u24ff\u2776-\u2793\u3000\u3164\ufb00-\ufb06\ufe00-\ufe0f\ufe50-\ufe6f\ufeff\uff01-\uff9f\uffa0\uffe0-\uffe6"
    "\ufff9-\ufffb\U00010140-\U0001018a\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U0001d400-\U0001d7ff\U0001f100-\U0001f169"
    "\U0001fbf0-\U0001fbf9\U000e0000-\U000e0fff]"
    "|[\u017f\u02b0-\u02b8\u02e0-\u02e4\u0890\u0891\u08e2\u1d9b-\u1dbf\u2c7c\u2c7d\ua7f2-\ua7f4\ufb29\ufe10-\ufe19"
    "\ufe30-\ufe4f\U000107a5\U000110bd\U000110cd\U00013430-\U0001343f]"
    r"|(?![\x00-\x7f])\d"
)
"""What may stand for an ASCII character, a space or nothing. Accents, CJK, Cyrillic and the like are not here: they are text."""

ESCAPED = re.compile(r"(?<!\\)\\+(?:u([0-9a-fA-F]{4})|(/))")
"""A JSON escape inside a text, at whatever depth of quoting."""

INVISIBLE_MARKS = frozenset(
    chr(code)
    for codes in (
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
        range(0x180B, 0x1810),
        range(0xFE00, 0xFE10),
        range(0xE0000, 0xE1000),
    )
    for code in codes
)
"""Default-ignorable characters that are not format characters: variation selectors, joiners, fillers, tags."""

DASHES = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d")


class View(Struct, frozen=True):
    text: str
    starts: Sequence[int]  # For each character of the view, where it starts and ends in the original.
    ends: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original's span for a span of the view (not empty)."""
        return self.starts[start], self.ends[end - 1]


def is_plain(text: str) -> bool:
    """Whether the text is its own view. Cheap: nearly every text is."""
    return (text.isascii() or UNUSUAL.search(text) is None) and ("\\" not in text or ESCAPED.search(text) is None)


def view(text: str) -> View:
    """The plain view, in one pass over the characters."""
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []

    def add(plain: str, start: int, end: int) -> None:
        characters.extend(plain)
        starts.extend([start] * len(plain))
        ends.extend([end] * len(plain))

    at = 0
    for escape in ESCAPED.finditer(text):
        for index in range(at, escape.start()):
            add(plain(text[index]), index, index + 1)
        add("/" if escape[2] else plain(chr(int(escape[1], 16))), escape.start(), escape.end())
        at = escape.end()
    for index in range(at, len(text)):
        add(plain(text[index]), index, index + 1)
    return View("".join(characters), starts, ends)


def plain(character: str) -> str:
    """What an unusual character stands for; "" when it is invisible."""
    if UNUSUAL.match(character) is None:
        return character
    if character in DASHES:
        return "-"
    if character in INVISIBLE_MARKS:
        return ""
    match unicodedata.category(character):
        case "Nd":
            return str(unicodedata.digit(character))
        case "Cf":
            return ""
        case "Zs" | "Zl" | "Zp":
            return " "
    folded = unicodedata.normalize("NFKC", character)
    return folded if folded.isascii() and len(folded) <= VIEW_CHARS_PER_CHAR_MAX else character
