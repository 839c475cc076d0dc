"""Regular expressions that operators write: RE2, so that none can take longer than its text is long, and bounded (docs/adr/0022)."""

import re
from collections.abc import Sequence
from re import _constants as parts  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import re2

from llmproxy.common.rails import Source

MEMORY_BYTES_MAX = 1 << 20  # Of one compiled expression, its states included.
WORDS_BYTES_MAX = 16 << 20  # Of a list of words.
SET_BYTES_MAX = 32 << 20  # Of all of one kind as one automaton.
SIZE_MAX = 4_000  # Instructions of one program: what a byte of hostile text costs grows with them.
SIZES_MAX = 20_000  # And of all together; lists of words are bounded by themselves.

SIGNS = re.compile(r"\\.|\(\?[a-zA-Z]*-[a-zA-Z]*|\(\?", re.DOTALL)
CLASSES = re.compile(r"\\[pP](?:\{\^?\w{1,32}\}|[A-Z])|\[:\^?\w{1,10}:\]|\\[CzQE]")
"""What RE2 has and Python has not; of the same width as what stands in their place."""

BEGINNING = rb"\A"


class Unusable(ValueError):
    """Says why and what to do, without the expression."""


def options(*, ignore_case: bool = False, memory: int = MEMORY_BYTES_MAX, captures: bool = False) -> Any:
    chosen = re2.Options()
    chosen.case_sensitive = not ignore_case
    chosen.max_mem = memory
    chosen.log_errors = False
    chosen.never_capture = not captures
    return chosen


def of(source: Source) -> Any:
    """RE2's, over UTF-8. Raises Unusable."""
    memory = WORDS_BYTES_MAX if source.is_words else MEMORY_BYTES_MAX
    chosen = options(ignore_case=source.ignore_case, memory=memory, captures=source.groups)
    try:
        return re2.compile(source.pattern.encode(), chosen)
    except (re2.error, UnicodeEncodeError) as error:
        if source.is_words:
            raise Unusable("are too many words; write fewer, or two topics") from None
        raise Unusable(
            f"RE2 does not accept it: {_reason(error)}; it has no look-around and no back-references"
        ) from None


def check(source: Source) -> Any:
    """An operator's own expression, compiled. Raises Unusable."""
    made = of(source)
    if made.programsize > SIZE_MAX:
        raise Unusable(
            f"is too large: {made.programsize} instructions of {SIZE_MAX}; repeat less often, or write two rules"
        )
    for sign in SIGNS.findall(source.pattern):
        if sign in (r"\A", r"\z"):
            raise Unusable(rf"{sign} is not for texts that are looked at together; write ^ or $")
        if sign in (r"\Q", r"\C"):
            raise Unusable(rf"{sign} is not accepted; write \ before each sign that is meant as it is")
        if sign.startswith("(?") and "m" in sign.partition("-")[2]:
            raise Unusable("(?-m) is not accepted; leave it out, for m is off where nothing switches it on")
    if made.match(b"") is not None:
        raise Unusable("matches nothing at all, so it would match everywhere; let it name what must be there")
    return made


def together(sources: Sequence[Source]) -> Any:
    """One automaton over all of them, and behind them one that always matches: where it does not, the automaton had no memory,
    and what it says of the others is worth nothing. Raises Unusable.

    `^` and `$` hold at every line here, because texts are looked at joined: more is found than there is, never less.
    """
    joined = re2.Set.SearchSet(options(memory=SET_BYTES_MAX))
    try:
        for source in sources:
            joined.Add(f"(?{'i' if source.ignore_case else ''}m:{source.pattern})".encode())
        joined.Add(BEGINNING)
        joined.Compile()
    except re2.error:
        raise Unusable("are too large together; write fewer, or shorter ones") from None
    return joined


def width(pattern: str) -> int:
    """The characters of the longest match; 0 when there is no bound, or when it cannot be told."""
    try:
        longest = parser.parse(CLASSES.sub(".", pattern)).getwidth()[1]
    except (re.error, OverflowError, RecursionError):
        return 0
    return 0 if longest >= min(parts.MAXREPEAT, parts.MAXGROUPS) else int(longest)


def _reason(error: Exception) -> str:
    """RE2's words without what it quotes of the expression."""
    words = error.args[0] if error.args and isinstance(error.args[0], bytes) else b"it is no text"
    return words.decode("utf-8", "replace").partition(":")[0]
