"""Takes out of an answer what may be many words: passwords that are told, and personal data where the policy says so.

What is held back begins where something tells that it may follow (behind the word `password`; at a digit), and ends with the
sentence, with the line, or after `UNIT_CHARS_MAX`.
"""

import re
from typing import Protocol

from llmproxy.shield import glance
from llmproxy.shield.answers.stage import Look, Report, instead, moved
from llmproxy.shield.answers.words import CONTEXT_CHARS
from llmproxy.shield.passwords import COMMANDS, PHRASE_NAMES, PLACES, STEMS

UNIT_CHARS_MAX = 256
WORD_CHARS_MAX = 64  # Of the part before the `@` of an address: RFC 5321.
HELD_CHARS_MAX = UNIT_CHARS_MAX + WORD_CHARS_MAX
ENDS = re.compile(r"\n|[.!?。！？](?=\s)")
DIGITS = re.compile(r"[\d@:]|&commat|[\[({]at[\])}]", re.IGNORECASE)
PASSWORD_NAMES = (*PLACES, *PHRASE_NAMES, *(flag for flag, _, _ in COMMANDS if flag.startswith(b" -")))
HEADS = re.compile(
    b"(?=[%b](?:%b))"
    % (
        re.escape(b"".join(sorted({name[:1] for name in PASSWORD_NAMES}))),
        b"|".join(sorted({re.escape(name[1:4]) for name in PASSWORD_NAMES})),
    )
)
"""How a name may begin: a look of half a microsecond, twenty times as fast as one at every name."""

FEW = 200
AHEAD_CHARS = 256  # As many as a unit has.
NAME_CHARS_MAX = max(map(len, (*PASSWORD_NAMES, *STEMS)))


class Trigger(Protocol):
    """What tells that something may follow."""

    def find(self, before: str, text: str, at: int) -> int:
        """From where on to hold back, at this place or behind it; -1 when nothing tells of anything. `before` stands before that place."""
        ...

    def loose(self, text: str, at: int) -> int:
        """Up to where a text without a trigger from this place on can be said, whatever follows."""
        ...

    def carries(self, unit: str) -> bool:
        """Whether what the end of this unit tells of may come in the next one."""
        ...


class Names:
    """The words before a password."""

    def find(self, before: str, text: str, at: int) -> int:
        """First in the little that is next, then further ahead: behind each unit the rest of the text is asked about again."""
        known, chars = before[1 - NAME_CHARS_MAX :], AHEAD_CHARS
        while at < len(text):
            ahead = text[at : at + chars]
            found = _first_name_end(known + ahead, len(known))
            if found >= 0:
                return at + found
            known, at, chars = (known + ahead)[1 - NAME_CHARS_MAX :], at + chars, 2 * chars
        return -1

    def loose(self, text: str, at: int) -> int:
        return len(text)

    def carries(self, unit: str) -> bool:
        return self.find("", unit[-NAME_CHARS_MAX:], 0) >= 0


class Digits:
    """Numbers and addresses."""

    sign = DIGITS

    def find(self, before: str, text: str, at: int) -> int:
        found = self.sign.search(text, at)
        return _word_start(text, at, found.start()) if found is not None else -1

    def loose(self, text: str, at: int) -> int:
        return _word_start(text, at, len(text))

    def carries(self, unit: str) -> bool:
        return False


class Dots(Digits):
    """Addresses and names of hosts. Of what is written as an entity the ampersand is seen."""

    sign = re.compile(r"[.:/\\&\u3002\uff0e\uff61]")


NAMES_BEFORE, DIGITS_IN, DOTS_IN = Names(), Digits(), Dots()


class Lines:
    """One text. `look` is asked about each unit that a trigger begins, with what stands before it."""

    __slots__ = ("_at", "_context", "_is_triggered", "_look", "_pending", "_report", "_trigger")

    def __init__(self, trigger: Trigger, look: Look, report: Report) -> None:
        self._trigger, self._look, self._report = trigger, look, report
        self._context = ""
        self._pending = ""
        self._at = 0  # Where in the text that begins.
        self._is_triggered = False

    @property
    def held(self) -> int:
        return len(self._pending)

    def push(self, piece: str) -> str:
        text, at = self._pending + piece, 0
        out: list[str] = []
        while at < len(text):
            if not self._is_triggered:
                place = self._trigger.find(self._context, text, at)
                loose = place if place >= 0 else self._trigger.loose(text, at)
                out.append(self._passed(text[at:loose]))
                at = loose
                if place < 0:
                    break
                self._is_triggered = True
            end = _end(text, at)
            if end == at:
                break
            out.append(self._closed(text[at:end]))
            at = end
        self._pending = text[at:]
        return "".join(out)

    def flush(self) -> str:
        """What comes behind it goes on with it, if it is what readers put behind it."""
        pending, self._pending = self._pending, ""
        if not self._is_triggered:
            self._passed(pending)
            self._at = 0
            return pending
        said = self._closed(pending)
        self._at = 0
        self._is_triggered = self._is_triggered or (said == pending and _end(pending, 0) == 0)
        return said

    def _passed(self, text: str) -> str:
        self._context = (self._context + text)[-CONTEXT_CHARS:]
        self._at += len(text)
        return text

    def _closed(self, unit: str) -> str:
        before, at = self._context, 0
        out: list[str] = []
        for finding in self._look(before + unit, len(before)):
            first, beyond = max(at, finding.start - len(before)), finding.end - len(before)
            if first < beyond and self._report(moved(finding, self._at - len(before))):
                out += (unit[at:first], instead(finding))
                at = beyond
        out.append(unit[at:])
        self._passed(unit)
        self._is_triggered = self._trigger.carries(unit)
        return "".join(out)


def has_no_digits(text: str) -> bool:
    """What is clear where personal data is taken out; where passwords are, words.py says it."""
    return DIGITS.search(text) is None


def _may_be_named(lower: bytes) -> bool:
    """What is faster for a few letters is slower for many."""
    if len(lower) <= FEW:
        return HEADS.search(lower) is not None
    for name in PASSWORD_NAMES:  # noqa: SIM110 - a generator costs as much as the search
        if name in lower:
            return True
    return False


def _end(text: str, at: int) -> int:
    """Where the unit ends that begins at this place: there, when it has not."""
    found = ENDS.search(text, at, at + UNIT_CHARS_MAX + 1)
    if found is not None:
        return found.end()
    if len(text) - at <= UNIT_CHARS_MAX:
        return at
    return text.rfind(" ", at, at + UNIT_CHARS_MAX) + 1 or at + UNIT_CHARS_MAX


def _first_name_end(text: str, behind: int) -> int:
    """Where the first name ends that ends behind a place; counted from there. -1 where there is none."""
    lower = glance.plain(text).lower()
    if not _may_be_named(lower) and text.isascii():
        return -1
    first = beyond = len(text) + 1
    for head in HEADS.finditer(lower):
        at = head.start()
        if at >= first:
            break
        ends = [at + len(name) for name in PASSWORD_NAMES if lower.startswith(name, at)]
        first = min([first, *(end for end in ends if end > behind)])
    found = [first - behind] if first < beyond else []
    if not text.isascii():
        found += [end for stem in STEMS if stem in text and (end := _end_of(text, stem, behind)) >= 0]
    return min(found, default=-1)


def _end_of(text: str, name: str, behind: int) -> int:
    """Where the first of these names ends that ends behind a place; counted from there."""
    at = text.find(name, max(0, behind - len(name) + 1))
    return at + len(name) - behind if at >= 0 else -1


def _word_start(text: str, first: int, at: int) -> int:
    least = max(first, at - WORD_CHARS_MAX)
    while at > least and not text[at - 1].isspace():
        at -= 1
    return at
