"""Which script and which language a text is written in. What is too short to tell is in none; so are code and numbers."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import resources

LETTERS_MIN = 20  # Of a script, before it counts as more than a name.
SHARE_MIN = 0.2  # Of all letters of a text.
WORDS_MIN = 12  # Before their commonest say something.
KNOWN_MIN = 0.12  # Of the words: in a language that is known, every third or fourth is among its commonest.
LEAD_MIN = 1.3  # Over the next language: neighbours share many words.
STRETCH_CHARS = 2_000  # What is longer is judged in stretches: it may go on in another language than it begins in.
SIGNS_MAX = 0.06  # Of brackets, semicolons and the like; more is code.

SCRIPT_OF = {
    "LATIN": "Latin", "CYRILLIC": "Cyrillic", "GREEK": "Greek", "ARABIC": "Arabic", "HEBREW": "Hebrew", "DEVANAGARI": "Devanagari",
    "BENGALI": "Bengali", "TAMIL": "Tamil", "TELUGU": "Telugu", "THAI": "Thai", "GEORGIAN": "Georgian", "ARMENIAN": "Armenian",
    "ETHIOPIC": "Ethiopic", "KHMER": "Khmer", "CJK": "Han", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Hangul",
}  # fmt: skip
"""How the names of letters begin in Unicode."""

ALONE = {
    "Greek": "el", "Hebrew": "he", "Devanagari": "hi", "Bengali": "bn", "Tamil": "ta", "Telugu": "te", "Thai": "th", "Georgian": "ka",
    "Armenian": "hy", "Ethiopic": "am", "Khmer": "km", "Han": "zh", "Japanese": "ja", "Hangul": "ko",
}  # fmt: skip
"""Scripts of which one language is by far the commonest."""

ADDRESS = re.compile(r"https?://\S+")
FENCED = re.compile(rf"```.*?(?:```|\Z)|`[^`\n]*`|{ADDRESS.pattern}", re.DOTALL)
SIGN = re.compile(r"[{}()\[\];=<>|&$#@\\/_*+^~]")
WORD = re.compile(r"[^\W\d_]+")


def stretches(text: str) -> Iterator[str]:
    """All of it, the last one as long as the others."""
    for begin in range(0, max(1, len(text) - STRETCH_CHARS), STRETCH_CHARS):
        yield text[begin : begin + STRETCH_CHARS]
    if len(text) > STRETCH_CHARS:
        yield text[-STRETCH_CHARS:]


def prose(text: str) -> str:
    """What of a text is written for people; "" when it is code."""
    if "`" in text or "://" in text:
        text = FENCED.sub(" ", text)
    return "" if len(SIGN.findall(text)) > SIGNS_MAX * len(text) else text


def scripts(text: str) -> dict[str, int]:
    """Script -> letters."""
    found: dict[str, int] = {}
    for sign, count in Counter(text).items():
        script = _script(sign)
        if script:
            found[script] = found.get(script, 0) + count
    return found


def written_in(text: str) -> frozenset[str]:
    """The scripts that some stretch of a text has more of than a name or a quotation. Code counts: its own words are Latin."""
    if "://" in text:
        text = ADDRESS.sub(" ", text)
    return frozenset(script for stretch in stretches(text) for script in _much_of(scripts(stretch)))


def _much_of(found: dict[str, int]) -> Iterator[str]:
    letters = sum(found.values())
    return (script for script, count in found.items() if count >= LETTERS_MIN and count >= SHARE_MIN * letters)


def languages(text: str) -> Iterator[str]:
    """ISO 639-1, of each stretch of a text of which it can be told."""
    return filter(None, map(language, stretches(text)))


def language(text: str) -> str:
    """Of which language a stretch is for the most part; "" when that cannot be told."""
    text = prose(text)
    found = scripts(text)
    if not found:
        return ""
    script, letters = max(found.items(), key=lambda item: item[1])
    if letters < LETTERS_MIN or letters * 2 < sum(found.values()):
        return ""
    if script == "Han" and found.get("Japanese", 0) * 10 > letters:
        return "ja"
    return ALONE.get(script) or _by_words(text, script)


def _by_words(text: str, script: str) -> str:
    words = WORD.findall(text.lower())
    if len(words) < WORDS_MIN:
        return ""
    weights: dict[str, float] = {}
    known = _known()
    for word in words:
        languages = known.get(word, ())
        for one in languages:
            weights[one] = weights.get(one, 0.0) + 1 / len(languages)
    ranked = sorted(((weight, one) for one, weight in weights.items() if _script_of()[one] == script), reverse=True)
    if not ranked or ranked[0][0] < KNOWN_MIN * len(words):
        return ""
    return ranked[0][1] if len(ranked) == 1 or ranked[0][0] >= LEAD_MIN * ranked[1][0] else ""


@lru_cache(8_192)
def _script(sign: str) -> str:
    return SCRIPT_OF.get(unicodedata.name(sign, "").partition(" ")[0], "") if sign.isalpha() else ""


@cache
def _lists() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    text = resources.files(__package__).joinpath("languages.txt").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return tuple((name, script, tuple(words)) for name, script, *words in lines)


@cache
def _script_of() -> dict[str, str]:
    return {name: script for name, script, _ in _lists()}


@cache
def _known() -> dict[str, tuple[str, ...]]:
    known: dict[str, tuple[str, ...]] = {}
    for name, _, words in _lists():
        for word in dict.fromkeys(words):
            known[word] = (*known.get(word, ()), name)
    return known
