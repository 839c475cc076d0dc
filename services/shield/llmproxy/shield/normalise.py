r"""A plain view of a text that was written to be overlooked: full-width or foreign digits, odd spaces, invisible characters, letters
in pieces, and \u escapes; or that is JSON within JSON, where a line break is a backslash and an n. Spans in the view map back to spans
in the text.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

from msgspec import Struct

VIEW_CHARS_PER_CHAR_MAX = 4
"""A compatibility character that stands for a whole phrase (U+FDFA: 18 characters) is left as it is."""

DIGITS = (
    "\u0660-\u0669\u06f0-\u06f9\u07c0-\u07c9\u0966-\u096f\u09e6-\u09ef\u0a66-\u0a6f\u0ae6-\u0aef\u0b66-\u0b6f"
    "\u0be6-\u0bef\u0c66-\u0c6f\u0ce6-\u0cef\u0d66-\u0d6f\u0de6-\u0def\u0e50-\u0e59\u0ed0-\u0ed9\u0f20-\u0f29"
    "\u1040-\u1049\u1090-\u1099\u17e0-\u17e9\u1810-\u1819\u1946-\u194f\u19d0-\u19d9\u1a80-\u1a89\u1a90-\u1a99"
    "\u1b50-\u1b59\u1bb0-\u1bb9\u1c40-\u1c49\u1c50-\u1c59\ua620-\ua629\ua8d0-\ua8d9\ua900-\ua909\ua9d0-\ua9d9"
    "\ua9f0-\ua9f9\uaa50-\uaa59\uabf0-\uabf9\uff10-\uff19"
)
"""The decimal digits of other scripts, as Unicode has them."""

DIGITS_BEYOND = (
    "\U000104a0-\U000104a9\U00010d30-\U00010d39\U00010d40-\U00010d49\U00011066-\U0001106f\U000110f0-\U000110f9"
    "\U00011136-\U0001113f\U000111d0-\U000111d9\U000112f0-\U000112f9\U00011450-\U00011459\U000114d0-\U000114d9"
    "\U00011650-\U00011659\U000116c0-\U000116c9\U000116d0-\U000116e3\U00011730-\U00011739\U000118e0-\U000118e9"
    "\U00011950-\U00011959\U00011bf0-\U00011bf9\U00011c50-\U00011c59\U00011d50-\U00011d59\U00011da0-\U00011da9"
    "\U00011de0-\U00011de9\U00011f50-\U00011f59\U00016a60-\U00016a69\U00016ac0-\U00016ac9\U00016b50-\U00016b59"
    "\U0001ccf0-\U0001ccf9\U0001d7ce-\U0001d7ff\U0001e140-\U0001e149\U0001e2f0-\U0001e2f9\U0001e4f0-\U0001e4f9"
    "\U0001e5f1-\U0001e5fa\U0001e950-\U0001e959\U0001fbf0-\U0001fbf9"
)

UNUSUAL_CLASS = (
    "\u00a0\u00ad\u00aa\u00b2\u00b3\u00b9\u00ba\u017f\u02b0-\u02b8\u02e0-\u02e4\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891"
    "\u08e2\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u1d2c-\u1d6a\u1d9b-\u1dbf\u2000-\u200f\u2024\u2028-\u202f\u2010-\u2015"
    "\u205f-\u209f\u2100-\u214f\u2150-\u2189\u2212\u2460-\u24ff\u2776-\u2793\u2c7c\u2c7d\u3000\u3164\ua7f2-\ua7f4\ufb00-\ufb06"
    "\ufb29\ufe00-\ufe0f\ufe10-\ufe19\ufe30-\ufe4f\ufe50-\ufe6f\ufeff\uff01-\uff9f\uffa0\uffe0-\uffe6\ufff9-\ufffb"
)
UNUSUAL_BEYOND = (
    "\U000107a5\U00010140-\U0001018a\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U0001d400-\U0001d7ff\U0001f100-\U0001f169\U0001fbf0-\U0001fbf9\U000e0000-\U000e0fff"
)

JOINING_CLASS = "\u0300-\u0314\u031b\u0323-\u0328\u032d\u032e\u0330\u0331\u0338\u0342\u0345\u0653-\u0655\u1161-\u1175\u11a8-\u11c2\u3099\u309a"
"""Accents and the like that are one letter with the letter before them, in Unicode's composed form (NFC). Those of Indic scripts are
not here: there, the composed form has them, too."""

JOINING = re.compile(f"[{JOINING_CLASS}]{{1,4}}")
"""No letter has more; putting many in order takes the square of their number."""

UNUSUAL = re.compile(f"[{UNUSUAL_CLASS}{DIGITS}{JOINING_CLASS}{UNUSUAL_BEYOND}{DIGITS_BEYOND}]")
"""What may stand for an ASCII character, a space or nothing, or is a piece of a letter. Letters with accents, CJK, Cyrillic and the like
are not here: they are text."""

UNUSUAL_NEAR = re.compile(f"[{UNUSUAL_CLASS}{DIGITS}{JOINING_CLASS}]")
FAR = "\U00010000-\U0010ffff"
BEYOND = re.compile(f"[{FAR}]")
"""The same in two: a set of 16 bits is a table lookup, and few texts have anything beyond."""

TO_BE_LOOKED_UP = re.compile(f"[{UNUSUAL_CLASS}{DIGITS}{JOINING_CLASS}{FAR}]")
"""What takes a microsecond: what is unusual, and what is compared with one range after the other to tell."""

BREAK_ENDS = r"(?<=[^\\]\\)\\*([nrt])(?=[\w+(]|\\+u[0-9a-fA-F]{4})"
"""Behind the first backslash of an escaped line break or tab, where something begins behind it. In a formula it is none, and the view is
a word that nobody looks for; but whatever stands at the end of a line (a fence, a bracket, a space) may hide what the next one begins with."""

IS_ESCAPE = rf"(?:(?<!\\\\)\\*(?:u([0-9a-fA-F]{{4}})|(/))|{BREAK_ENDS})"

ESCAPED = re.compile(rf"\\{IS_ESCAPE}")
"""A JSON escape inside a text, at whatever depth of quoting."""

REPLACED = re.compile(rf"[\\{UNUSUAL.pattern[1:-1]}](?:(?<=\\){IS_ESCAPE})?")
"""What `ESCAPED` and `UNUSUAL` match, and single backslashes: one set to begin with, so that the search is a fast one."""

BREAKS = {"n": "\n", "r": "\n", "t": "\t"}

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
    """What is the same in both is kept as stretches: nearly every character of nearly every text."""

    text: str
    firsts: Sequence[int]  # Where in the view each stretch begins, and in the original. A replacement is one too.
    origins: Sequence[int]
    widths: Sequence[int]  # Of a replacement: the characters of the original it stands for. 0: character by character.

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original's span for a span of the view (not empty)."""
        return self._place(start)[0], self._place(end - 1)[1]

    def parts(self, start: int, end: int) -> bool:
        """Whether a span of the original begins or ends amid what one character of the view stands for."""
        return self._is_amid(start) or self._is_amid(end)

    def _is_amid(self, place: int) -> bool:
        index = bisect_left(self.origins, place) - 1
        return index >= 0 and place < self.origins[index] + self.widths[index]

    def _place(self, at: int) -> tuple[int, int]:
        index = bisect_right(self.firsts, at) - 1
        origin, width = self.origins[index], self.widths[index]
        if width:
            return origin, origin + width
        origin += at - self.firsts[index]
        return origin, origin + 1


def is_plain(text: str) -> bool:
    """Whether the text is its own view. Cheap: nearly every text is."""
    return (text.isascii() or not _is_unusual(text)) and ("\\" not in text or ESCAPED.search(text) is None)


def _is_unusual(text: str) -> bool:
    if UNUSUAL_NEAR.search(text) is not None:
        return True
    return BEYOND.search(text) is not None and UNUSUAL.search(text) is not None


def is_beyond(text: str, places: int) -> bool:
    """Whether it takes the view a microsecond in more places than that, in each of which it may differ from the text."""
    count = text.count("\\")
    if count <= places and not text.isascii():
        count += sum(1 for _ in islice(TO_BE_LOOKED_UP.finditer(text), places + 1))
    return count > places


def appearances(text: str) -> tuple[str, ...]:
    """The text, and its plain view where that differs."""
    return (text,) if is_plain(text) else (text, view(text).text)


def view(text: str) -> View:
    """The plain view, in one pass over what is unusual."""
    pieces: list[str] = []
    firsts: list[int] = [0]
    origins: list[int] = [0]
    widths: list[int] = [0]
    size = at = joined = 0
    for match in _replaced(text):
        start, end = match.span()
        if start < joined:
            continue
        if (joining := JOINING.match(text, start)) is not None:
            start, end = max(at, start - 1), joining.end()
            joined = end
            standing_for = unicodedata.normalize("NFC", text[start:end])
            if standing_for == text[start:end]:
                continue
        elif match.re.groups and match[1]:
            standing_for = plain(chr(int(match[1], 16)))
        elif match.re.groups and match[2]:
            standing_for = "/"
        elif match.re.groups and match[3]:
            standing_for = BREAKS[match[3]]
        else:
            standing_for = plain(match[0])
            if standing_for == match[0]:
                continue
        pieces += (text[at:start], standing_for)
        size += start - at
        if standing_for:
            firsts.append(size)
            origins.append(start)
            widths.append(end - start)
            size += len(standing_for)
        firsts.append(size)
        origins.append(end)
        widths.append(0)
        at = end
    pieces.append(text[at:])
    return View("".join(pieces), firsts, origins, widths)


def _replaced(text: str) -> Iterator[re.Match[str]]:
    if "\\" in text:
        return REPLACED.finditer(text)
    return (UNUSUAL_NEAR if BEYOND.search(text) is None else UNUSUAL).finditer(text)


@lru_cache(4096)
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
