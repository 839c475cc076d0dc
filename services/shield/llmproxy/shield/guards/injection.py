"""Text that gives the model orders it should not take, by a model that ships with the package (docs/models/injection.md).

It says how likely that is and where; from which probability on something follows, and what, is the policy's.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from secrets import token_bytes
from typing import Any

from msgspec import structs

from llmproxy.common.policy import INJECTION
from llmproxy.common.recent import SECRET_BYTES, Recent
from llmproxy.common.segments import Segment
from llmproxy.common.signatures import Budget
from llmproxy.common.views import View
from llmproxy.shield.defined import Defined, Reading
from llmproxy.shield.guards.base import Apart, IsLate, never
from llmproxy.shield.injection import definitions, model
from llmproxy.shield.injection.definitions import Orders
from llmproxy.shield.injection.first import CLEAR, ROWS, First, Open
from llmproxy.shield.injection.model import PROBABILITY_MIN, Suspicion, Weighed, ample
from llmproxy.shield.verdict import ALLOW, Finding, Flag, Verdict, seen_in

CHARS_MIN, ASCII_CHARS_MIN = 4, 12  # Less is no order, in Chinese and in English.
# Of one request in the loop, for the signatures: a millisecond or two. Twenty kilobytes of ordinary prose need no more.
LOOP_WORDS_MAX, LOOP_TRIALS_MAX, LOOP_TRIED_BYTES_MAX = 16_000, 96, 32_768
# Of the trials, expressions that this process has tried on nothing before: each takes as long as twelve others.
LOOP_FIRST_TRIALS_MAX = 40
LOOP_MATCH_TRIALS = 6  # What a match takes of them, for all that is asked then.
# What takes so long is no work for the loop; twice the machine may have had something else to do.
LOOP_SLOW_TRIAL_S, LOOP_SLOW_TRIALS_MAX = 0.000_1, 2
LOOP_DEFINED_TRIALS_MAX = 256  # Of definitions, which are read once: ten kilobytes of a tool need a hundred.
LOOP_TEXTS_MAX = 64  # That are not clear at the first look: to weigh one takes up to 50 us, however short it is.
LOOP_HIDING_CHARS_MAX = 16_384  # Of texts that hide something, which is to be decoded first;
LOOP_BEYOND_CHARS_MAX = 6_144  # and so many of those that are not ASCII, which is also to be folded.

SCORE_MAX = 0.9999  # Nothing is certain, so that a threshold of 1 is one that nothing reaches.


class Injection(Apart):
    """Weighs each text by its most suspicious window, in whatever way it is written."""

    name = INJECTION

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        """`clock`, in seconds, tells which signatures take long on a text that is made for them."""
        self.clock = clock
        self._last: tuple[str, Weighed] | None = None  # What was worth a look is looked at next.
        self._first: First | None = None
        self._definitions = Reading(token_bytes(SECRET_BYTES))

    def may_hold(self, text: str) -> bool:
        return is_enough(text) and bool(self.suspects((text,)))

    def suspects(self, texts: Sequence[str], budget: Budget | None = None) -> list[str]:
        """Those that may hold something. When the budget is exhausted, nothing is known of the rest."""
        return self._found(zip(texts, model.shipped().suspects(texts, budget), strict=False), budget)

    def suspects_among(self, opened: Iterable[Open], budget: Budget) -> list[str]:
        """As `suspects`, of texts that were not clear at the first look."""
        some = model.shipped()
        return self._found(((one.text, some.opened(one, budget)) for one in opened), budget)

    def _found(self, weighed: Iterable[tuple[str, Weighed | None]], budget: Budget | None) -> list[str]:
        found: list[str] = []
        for text, one in weighed:
            if budget is not None and budget.exhausted:
                break
            if one is not None:
                self._last = (text, one)
                found.append(text)
        return found

    def inspect(self, segment: Segment) -> Verdict:
        if not is_enough(segment.text):
            return ALLOW
        weighed = self.weighed(segment.text)
        is_suspicious = weighed.probability >= PROBABILITY_MIN
        ordered = None
        if segment.role == definitions.ROLE:
            ordered = definitions.orders(segment.text, ample(len(segment.text)), is_suspicious=is_suspicious)
        if ordered is None and not is_suspicious:
            return ALLOW
        seen = model.place(weighed)
        if ordered is not None:
            seen = _both(seen, *ordered)
        finding = Finding(
            INJECTION, seen.start, seen.end, "flag", min(round(seen.probability, 4), SCORE_MAX), rule=seen.rule
        )
        return Flag((seen_in(seen.view, segment.text, finding),))

    def defined(self, tree: dict[str, Any], tenant: bytes, *, is_in_loop: bool) -> Defined:
        return self._definitions.of(
            tree, tenant, _of_the_loop(self.clock, LOOP_DEFINED_TRIALS_MAX) if is_in_loop else None
        )

    def sparing(self, tenant: bytes, is_late: IsLate = never) -> "Sparing":
        if self._first is None:
            self._first = model.shipped().first(Recent(token_bytes(SECRET_BYTES), ROWS))
        return Sparing(self, self._first, tenant, is_late)

    def weighed(self, text: str) -> Weighed:
        last = self._last
        return last[1] if last is not None and last[0] == text else model.shipped().weigh(text)


def _both(seen: Suspicion, view: View, orders: Orders) -> Suspicion:
    """What the words and the orders of a definition say together, at the place that says more."""
    probability = 1 - (1 - seen.probability) * (1 - orders.probability)
    if seen.probability > orders.probability:
        return structs.replace(seen, probability=probability)
    return Suspicion(probability, view, orders.start, orders.end, orders.rule)


NONE: set[str] = set()


class Sparing:
    """The quick look at the texts of one request in the event loop: what a few kilobytes of hostile text can cost is bounded."""

    name = INJECTION

    def __init__(self, guard: Injection, first: First, tenant: bytes, is_late: IsLate) -> None:
        self._guard, self._first, self._tenant, self._is_late = guard, first, tenant, is_late
        self._words_left, self._texts_left = LOOP_WORDS_MAX, LOOP_TEXTS_MAX
        self._budget: Budget | None = None  # From when a text is to be weighed.
        self._open: Sequence[Open] = CLEAR
        self.is_spent = False

    def may_hold(self, text: str) -> bool:
        if self.is_spent:
            return True
        self.look([text])
        return bool(self.suspects())

    def look(self, texts: list[str]) -> int:
        bits, self._open, words = self._first.over(self._tenant, texts, self._words_left)
        self._words_left -= words
        return bits

    def suspects(self) -> set[str]:
        if not self._open:
            return NONE
        self._texts_left -= len(self._open)
        hiding = [one.text for one in self._open if one.seen is None]
        beyond = sum(len(text) for text in hiding if not text.isascii())
        if self._texts_left < 0 or sum(map(len, hiding)) > LOOP_HIDING_CHARS_MAX or beyond > LOOP_BEYOND_CHARS_MAX:
            self.is_spent = True
            return NONE
        budget = self._budget or _of_the_loop(self._guard.clock)
        budget.words, self._budget = self._words_left, budget
        opened = self._open if len(self._open) == 1 else self._in_time()
        suspects = set(self._guard.suspects_among(opened, budget))
        self._words_left, self.is_spent = budget.words, self.is_spent or budget.exhausted
        if not budget.exhausted:
            for one in self._open:
                if one.text not in suspects:
                    self._first.recent.remember(one.memory)
        return suspects

    def _in_time(self) -> Iterator[Open]:
        """What is open, for as long as there is time for it. What is left then is open no more."""
        for place, one in enumerate(self._open):
            if self._is_late():
                self._open, self.is_spent = self._open[:place], True
                return
            yield one

    def inspect(self, segment: Segment) -> Verdict:
        return self._guard.inspect(segment)


def _of_the_loop(clock: Callable[[], float] | None, trials: int = LOOP_TRIALS_MAX) -> Budget:
    return Budget(
        LOOP_WORDS_MAX,
        trials,
        LOOP_TRIED_BYTES_MAX,
        LOOP_FIRST_TRIALS_MAX,
        match_trials=LOOP_MATCH_TRIALS,
        clock=clock,
        slow_s=LOOP_SLOW_TRIAL_S,
        slow_trials=LOOP_SLOW_TRIALS_MAX,
    )


def is_enough(text: str) -> bool:
    return len(text) >= (ASCII_CHARS_MIN if text.isascii() else CHARS_MIN)
