"""Takes out of an answer what operators' rules and topics take out, or ends it there.

Held back is what may become a match: the last characters, as many as the longest match has. A rule whose matches have no
bound sees `BLOCK_CHARS` twice at a time: a match begins in the first of two blocks and ends in the second at the latest.
"""

from json import dumps

from msgspec import structs

from llmproxy.common.actions import PASSING, Action
from llmproxy.common.rails import DOES
from llmproxy.shield.answers.stage import Report
from llmproxy.shield.guards.rules import Rules
from llmproxy.shield.guards.topics import Topics
from llmproxy.shield.rails.expressions import Compiled, Encoded, finding, first
from llmproxy.shield.vault import redacted

BLOCK_CHARS = 128
BOUND_CHARS_MAX = 2 * BLOCK_CHARS  # A rule with longer matches counts as one without a bound.
CONTEXT_CHARS = 1  # RE2 looks at one sign beside a match.


class Taking:
    """The expressions of one guard that take something out of answers or end them; made once for each policy."""

    def __init__(self, guard: Rules | Topics) -> None:
        self.guard, self.kind = guard.name, guard.kind
        self.expressions = guard.expressions
        removing = [
            (index, one)
            for index, one in enumerate(guard.expressions.all)
            if DOES[one.source.rail.action] not in PASSING
        ]
        self.bounded = {index: one for index, one in removing if 0 < one.width <= BOUND_CHARS_MAX}
        self.others = {index: one for index, one in removing if index not in self.bounded}
        self.reach = max((one.width for one in self.bounded.values()), default=0)

    @property
    def is_empty(self) -> bool:
        return not (self.bounded or self.others)


class Rails:
    """One text."""

    __slots__ = ("_context", "_in_json", "_offset", "_pending", "_report", "_taken", "_taking")

    def __init__(self, taking: Taking, report: Report, *, in_json: bool) -> None:
        self._taking, self._report, self._in_json = taking, report, in_json
        self._context = ""  # What came last, as it came.
        self._taken = 0  # Characters at its end that were taken out: what begins among them may go on.
        self._pending = ""
        self._offset = 0  # Of what is pending, in the text.

    @property
    def held(self) -> int:
        return len(self._pending)

    def push(self, piece: str) -> str:
        self._pending += piece
        return self._through(is_over=False)

    def flush(self) -> str:
        return self._through(is_over=True)

    def _through(self, *, is_over: bool) -> str:
        before, text = len(self._context), self._context + self._pending
        limit = len(text) if is_over else max(before, self._settled(len(text), before))
        if limit == before:
            return ""
        out: list[str] = []
        at = before
        matches = self._matches(text, before, limit)
        for start, end, _, one in matches:
            out.append(text[at:start])
            out.append(self._said(text[start:end], one, self._offset + start - before))
            at = end
        end = max(at, limit)
        out.append(text[at:end])
        self._offset += end - before
        self._taken = at - matches[-1][2] if at > limit else 0
        self._context = text[max(0, end - self._taken - CONTEXT_CHARS) : end]
        self._pending = text[end:]
        return "".join(out)

    def _settled(self, known: int, before: int) -> int:
        """Up to where it is certain what begins there: a match is known as a whole, and the sign behind it."""
        settled = known - self._taking.reach - 1
        if self._taking.others:
            blocks = (self._offset + known - before - 1) // BLOCK_CHARS - 1
            settled = min(settled, blocks * BLOCK_CHARS - self._offset + before)
        return settled

    def _matches(self, text: str, before: int, limit: int) -> list[tuple[int, int, int, Compiled]]:
        """One behind the other: whichever begins first, then the longest, then in the order of the rules. Of one that begins in the one
        before it what is behind that; its own beginning is the third number."""
        taking = self._taking
        possible = [
            index for index in taking.expressions.possible(text) if index in taking.bounded or index in taking.others
        ]
        if not possible:
            return []
        encoded = Encoded(text)
        found: list[tuple[int, int, int, Compiled]] = []
        at, begun = before, before - self._taken
        next_of: dict[int, tuple[int, int] | None] = dict.fromkeys(possible, (begun - 1, begun))
        while at < limit:
            for index, span in next_of.items():
                if span is not None and span[0] < at:
                    next_of[index] = self._first_beyond(index, encoded, begun, at, limit, before=before)
            spans = [(max(at, span[0]), -span[1], index) for index, span in next_of.items() if span is not None]
            if not spans:
                break
            start, end, index = min(spans)
            span = next_of[index]
            assert span is not None
            at, begun = -end, span[0]
            found.append((start, at, begun, taking.expressions.all[index]))
        return found

    def _first_beyond(
        self, index: int, encoded: Encoded, begun: int, at: int, limit: int, *, before: int
    ) -> tuple[int, int] | None:
        """The first match of one that begins at `begun` or behind it, in what is settled, and ends behind `at`."""
        span = self._next(index, encoded, begun, limit, before=before)
        while span is not None and span[1] <= at:
            span = self._next(index, encoded, span[1], limit, before=before)
        return span

    def _next(self, index: int, encoded: Encoded, at: int, limit: int, *, before: int) -> tuple[int, int] | None:
        """The first match of one that begins there or behind it, and in what is settled; in characters."""
        one = self._taking.expressions.all[index]
        if index in self._taking.bounded:
            return _within(one, encoded, at, limit, None)
        while at < limit:
            block = (self._offset + at - before) // BLOCK_CHARS
            beyond = (block + 1) * BLOCK_CHARS - self._offset + before
            end = min(beyond + BLOCK_CHARS, len(encoded.text))
            span = _within(one, encoded, at, min(limit, beyond), end)
            if span is not None:
                return span
            at = beyond
        return None

    def _said(self, text: str, one: Compiled, at: int) -> str:
        """What is said in its place."""
        seen = finding(one.source.rail, self._taking.kind, at, at + len(text))
        does: Action = "redact" if seen.action == "mask" else seen.action
        if does == "redact" and self._in_json and not is_inside_json(text):
            does = "block"  # Without it the arguments of the tool would be no JSON, or say something else.
        self._report(structs.replace(seen, guard=self._taking.guard, action=does))
        replacement = redacted(seen.kind) if seen.replacement is None or seen.action == "mask" else seen.replacement
        return dumps(replacement, ensure_ascii=False)[1:-1] if self._in_json else replacement


def is_inside_json(text: str) -> bool:
    """Whether this may be the inside of a string of a document: no end of one, and no half of an escape."""
    return '"' not in text and "\\" not in text


def _within(one: Compiled, encoded: Encoded, at: int, limit: int, end: int | None) -> tuple[int, int] | None:
    span = first(one, encoded.data, encoded.byte(at), None if end is None else encoded.byte(end))
    if span is None:
        return None
    start = encoded.char(span[0])
    return (start, encoded.char(span[1])) if start < limit else None
