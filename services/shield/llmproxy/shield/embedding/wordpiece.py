"""Cuts a text into the word pieces of an uncased BERT vocabulary, as the tokenizer that the model was trained with does."""

import unicodedata
from collections.abc import Iterator

UNKNOWN, FIRST, LAST = "[UNK]", "[CLS]", "[SEP]"
CONTINUED = "##"
WORD_CHARS_MAX = 100  # A longer word is one unknown piece.
KEPT_CONTROLS = "\t\n\r"

IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""Each is a word of its own."""


class WordPieces:
    """Immutable. ValueError for a vocabulary without the three pieces that every text needs."""

    def __init__(self, vocabulary: list[str]) -> None:
        self._numbers = {piece: number for number, piece in enumerate(vocabulary)}
        missing = [piece for piece in (UNKNOWN, FIRST, LAST) if piece not in self._numbers]
        if missing:
            raise ValueError(f"the vocabulary has no {', '.join(missing)}")
        self._unknown = self._numbers[UNKNOWN]
        self._longest = max(map(len, vocabulary))

    def numbers(self, text: str) -> list[int]:
        """The pieces of a text, without those that begin and end it."""
        return [number for word in _words(text) for number in self._pieces(word)]

    def framed(self, numbers: list[int]) -> list[int]:
        return [self._numbers[FIRST], *numbers, self._numbers[LAST]]

    def _pieces(self, word: str) -> list[int]:
        """The longest piece that the vocabulary has, then the longest of the rest; all or nothing."""
        if len(word) > WORD_CHARS_MAX:
            return [self._unknown]
        found: list[int] = []
        start = 0
        while start < len(word):
            end = min(len(word), start + self._longest)
            while end > start and (number := self._numbers.get(_named(word[start:end], start))) is None:
                end -= 1
            if end == start or number is None:
                return [self._unknown]
            found.append(number)
            start = end
        return found


def _named(piece: str, start: int) -> str:
    return CONTINUED + piece if start else piece


def _words(text: str) -> Iterator[str]:
    """What stands between spaces; each mark of punctuation and each ideograph by itself."""
    word: list[str] = []
    for char in _plain(text):
        if char.isspace() or _is_mark(char) or _is_ideograph(char):
            if word:
                yield "".join(word)
                word.clear()
            if not char.isspace():
                yield char
        else:
            word.append(char)
    if word:
        yield "".join(word)


def _plain(text: str) -> str:
    """In lower case, without accents and without characters that are not seen."""
    if not text.isascii():
        text = "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
    return "".join(char for char in text if not _is_control(char)).lower()


def _is_control(char: str) -> bool:
    return char == "\ufffd" or (unicodedata.category(char)[0] == "C" and char not in KEPT_CONTROLS)


def _is_mark(char: str) -> bool:
    if char < "\x80":
        return "!" <= char <= "~" and not char.isalnum()
    return unicodedata.category(char)[0] == "P"


def _is_ideograph(char: str) -> bool:
    return char >= "\u3400" and any(first <= ord(char) <= last for first, last in IDEOGRAPHS)
