"""Where long random words are ordinary: in fences, behind a quote, in data URLs, in what PEM heads and in SSH's public keys.

Code, JSON and configuration are full of them. What stands bare in a sentence is explained by nothing.
"""

import re
from collections.abc import Iterator

from llmproxy.shield import glance
from llmproxy.shield.answers.noise import RANDOM, RANDOM_CHARS_MIN

HEAD_CHARS = 96  # Of what stands before a word: the head of a data URL or of a PEM, or a quote.
BEFORE_CHARS = RANDOM_CHARS_MIN + HEAD_CHARS
"""Of the blocks before: a word that begins there is judged there, or its head is still to be seen."""

FENCE = re.compile(r"^[ \t>]*(`{3,}(?=[^`\n]*$)|~{3,})", re.MULTILINE)
FENCE_IN_JSON = re.compile(r'(?:^|\\n|(?<!\\)")(?:[ \t>]|\\t)*(`{3,}|~{3,})', re.MULTILINE)
"""In JSON, a line break is written, and a value begins behind a quote."""

LINE_BEGUN = re.compile(r'(?:\A"?|\n)[ \t>]*\Z')
WORD_BEGUN = re.compile(r"[A-Za-z0-9+/_-]*\Z")

EXPLAINED = re.compile(
    r"(?<![A-Za-z0-9])[bBrRuUfF]{0,2}[\"'`]\Z"
    r"|data:[\w.+;=\\/-]{0,64};base64,\Z"
    r"|-----BEGIN [A-Z0-9 ]{1,40}-----(?:\s|\\[nr])*\\?\Z"
    r"|\n[ \t]{2,24}(?:- )?[A-Za-z_][\w.-]{0,39}:[ \t]{1,4}\Z",  # YAML, below something: `Result: ...` is a sentence.
    re.IGNORECASE | re.ASCII,
)
"""By what stands before it."""

PEM_BEGUN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}\Z")
PEM_BEHIND = re.compile(r"[A-Z0-9]{2,16}-----")
"""The head of a PEM in one line: its last word goes on with the body."""

SSH = re.compile(r"AAAA[A-Z][A-Za-z0-9](?:NzaC|VjZHNh|NrL)")
"""Base64 of the length of a name and of the name, as every public key of SSH begins: `ssh-`, `ecdsa`, `sk-`. RFC 4253, 6.6."""


class Ordinary:
    """Reads a text block by block. `is_value`: it is one value of a JSON, whose quotes are not in it."""

    __slots__ = ("_before", "_fence", "_goes_on", "_marks")

    def __init__(self, *, in_json: bool = False, is_value: bool = False) -> None:
        self._marks = FENCE_IN_JSON if in_json else FENCE
        self._before = '"' if is_value else ""
        self._fence = ""  # The one that is open.
        self._goes_on = False  # The last block ended in a word that is explained.

    def unexplained(self, block: str) -> str:
        """The long words of the next block that nothing explains, a space between them."""
        fenced = list(self._fenced(block)) if self._fence or "```" in block or "~~~" in block else []
        goes_on, left = False, list[str]()
        for first, last in glance.long_words(glance.plain(block), RANDOM_CHARS_MIN):
            for word in RANDOM.finditer(block, first, last):
                start, end = word.span()
                is_explained = any(begin <= start < over for begin, over in fenced) or self._explains(block, start)
                goes_on = is_explained and end == len(block)
                if not is_explained:
                    left.append(word[0])
        self._goes_on = goes_on
        self._before = (self._before + block)[-BEFORE_CHARS:]
        return " ".join(left)

    def _explains(self, block: str, start: int) -> bool:
        if start:
            before = (self._before + block[:start])[-BEFORE_CHARS:]
            at = len(before)
        else:  # The word may have begun in the block before.
            before = self._before
            begun = WORD_BEGUN.search(before)
            at = begun.start() if begun is not None else len(before)
            if not at and len(before) == BEFORE_CHARS:
                return self._goes_on
        head, word = before[max(0, at - HEAD_CHARS) : at], before[at:] + block[start : start + HEAD_CHARS]
        if EXPLAINED.search(head) is not None or SSH.match(word) is not None:
            return True
        return PEM_BEGUN.search(head) is not None and PEM_BEHIND.match(word) is not None

    def _fenced(self, block: str) -> Iterator[tuple[int, int]]:
        """What of a block stands in fences. One is closed by its own sign, as often or more."""
        begin = 0
        for mark in self._marks.finditer(block):
            if mark.start() == 0 and LINE_BEGUN.search(self._before) is None:
                continue
            if not self._fence:
                self._fence, begin = mark[1], mark.end()
            elif mark[1].startswith(self._fence):
                yield begin, mark.start()
                self._fence = ""
        if self._fence:
            yield begin, len(block)
