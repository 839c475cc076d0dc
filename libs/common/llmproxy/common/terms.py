"""Words of a topic as expressions: anywhere, or between what is no part of a word."""

import re
import unicodedata
from collections.abc import Sequence

BEYOND = r"[^\pL\pM\pN_]"
BEFORE, BEHIND = rf"(?:^|{BEYOND})", rf"(?:$|{BEYOND})"
SPACE = r"\s{1,4}"

UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "BOPOMOFO", "YI")
"""Scripts in which no sign stands between words, as Unicode's names of their letters begin."""

SIGN = re.compile(r"[^\w\s]")


def anywhere(terms: Sequence[str]) -> str:
    """The longest first, so that it is the whole of what is written that is found. Texts are read in their composed form, too."""
    ordered = sorted({unicodedata.normalize("NFC", term) for term in terms}, key=lambda term: (-len(term), term))
    return "|".join(SPACE.join(map(_literal, term.split())) for term in ordered)


def whole(terms: Sequence[str]) -> str:
    """What is a word ends where no letter follows; an end in a script without spaces, or that is no letter, ends anywhere.

    What was found is the group that matched.
    """
    groups: dict[tuple[bool, bool], list[str]] = {}
    for term in terms:
        stripped = unicodedata.normalize("NFC", term).strip()
        groups.setdefault((_is_bound(stripped[0]), _is_bound(stripped[-1])), []).append(term)
    return "|".join(
        f"{BEFORE * begins}({anywhere(some)}){BEHIND * ends}" for (begins, ends), some in sorted(groups.items())
    )


def _literal(word: str) -> str:
    return SIGN.sub(lambda sign: rf"\{sign[0]}" if sign[0].isascii() else sign[0], word)


def _is_bound(sign: str) -> bool:
    is_letter = sign.isalnum() or unicodedata.category(sign).startswith("M")
    return is_letter and not unicodedata.name(sign, "").startswith(UNSPACED)
