"""The firewall: looks at the bytes of a body before anything parses them, in what they say and in what they hide.

Bounded by bytes, not by time: a body is looked at in slices, the loop runs between two of them, and what the exact expressions and the
decoders may look at is a budget of the whole body. The shield looks at every text again, parsed and in full.
"""

import asyncio
import ctypes
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Literal

from msgspec import Struct

from llmproxy.common import config, native
from llmproxy.common.explanations import Explanation, explained
from llmproxy.common.plugins.host import MODIFIED, PASS, Block, Result
from llmproxy.common.signatures import Budget, Hit, Matcher, Seen, Stamp, matcher, stamp
from llmproxy.common.views import Hint, View, in_characters, marks, placed, views
from llmproxy.edge import metrics
from llmproxy.edge.glance import ALL, Glance, New
from llmproxy.edge.ingress import Ingress
from llmproxy.edge.routes.table import CALL

SLICE_BYTES = 16_384  # Looked at together; between two of them the loop runs.
OVERLAP_BYTES = 1_024  # Of two slices: a phrase on the border is whole in one of them.
WORDS_MAX = 18_000  # Of one body: words that signatures are made of, as 80 KB of English have them,
TRIALS_MAX = 260  # exact expressions tried near them, as in 60 KB,
TRIED_BYTES_MAX = 262_144  # and bytes that they are tried on.
SLICE_TRIALS_MAX = 120  # Of one slice: what stands behind it is looked at as well.
# Of one body: expressions that this process has tried on nothing before, which take a tenth of a millisecond.
FIRST_TRIALS_MAX = 20
# Of one body: expressions that take so long, each tried once; what more of them take is taken off the others.
SLOW_TRIAL_S, SLOW_TRIALS_MAX = 0.001, 4
TURN_TRIALS = 120  # In one turn of the loop, or what takes as long: a millisecond.
DECODED_CHARS_OF_A_TRIAL = 32  # To look for what so many characters hide takes as long.
DECODED_CHARS_MAX = 16_384  # Of one body, for the decoders.
DECODED_BYTES_MAX = 6_144  # At once, from the first mark of an encoding on.
BEFORE_MARK_BYTES = 256  # What stands before it belongs to the view.

log = logging.getLogger(__name__)

Matchers = Callable[[], Matcher | None]
Clock = Callable[[], float]


class Firewall:
    """The step of ring 1. `matchers` gives what is in force; None while it is switched off. `clock`, of CPU time, tells which expressions
    take long on a body that is made for them."""

    name, priority, timeout_ms = "firewall", 45, 0  # Bounded by its budgets.
    fail: Literal["closed", "open"] = "closed"

    def __init__(self, matchers: Matchers, clock: Clock | None = None) -> None:
        self._matchers, self._clock = matchers, clock
        self._glance: tuple[Matcher, Glance] | None = None

    def run(self, context: Ingress) -> Result | Awaitable[Result]:
        matching = self._matchers()
        if matching is None or context.route.action is not CALL:
            return PASS
        if self._glance is None or self._glance[0] is not matching:
            self._glance = matching, Glance(matching.near, WORDS_MAX)
        body = context.body
        if context.upload is not None:  # The name of a form's file is text as well, and stands beside the texts.
            body += b"\n" + context.upload.filename.encode()
        new = self._glance[1].at(context.record.tenant if context.record is not None else "", body)
        if new is None:  # As nearly always.
            return PASS
        examination = Examination(matching, new, self._clock)
        turns = examination.turns(body)
        if next(turns, DONE) is DONE:
            return conclude(context, examination)
        return self._go_on(context, examination, turns)

    async def _go_on(self, context: Ingress, examination: "Examination", turns: Iterator[None]) -> Result:
        await asyncio.sleep(0)
        for _ in turns:
            await asyncio.sleep(0)
        return conclude(context, examination)


DONE = object()


def slices(length: int) -> list[int]:
    """Where the slices start. From both ends towards the middle: the budgets last longest where attackers put things."""
    if length <= SLICE_BYTES:  # As nearly always.
        return [0]
    starts = list(range(0, length - OVERLAP_BYTES, SLICE_BYTES - OVERLAP_BYTES))
    return [start for pair in zip(starts, reversed(starts), strict=True) for start in pair][: len(starts)]


class Found(Struct, frozen=True):
    """A signature, the decodings that showed it, and where it stands in the body: in bytes of it as it came."""

    hit: Hit
    via: tuple[str, ...]
    start: int
    end: int


Place = Callable[[int, int], tuple[int, int]]
"""Of what was looked at: where in the body that is. Asked of what was found, and of nothing else."""


class Examination:
    """What was found in one body so far, and what may still be spent on it."""

    __slots__ = ("_budget", "_chars_left", "_matcher", "_new", "_trials_behind", "blocking", "exhausted", "hits")

    def __init__(self, matching: Matcher, new: New = ALL, clock: Clock | None = None) -> None:
        self._matcher, self._new = matching, new
        self._budget = Budget(
            WORDS_MAX,
            TRIALS_MAX,
            TRIED_BYTES_MAX,
            FIRST_TRIALS_MAX,
            clock=clock,
            slow_s=SLOW_TRIAL_S,
            slow_trials=SLOW_TRIALS_MAX,
        )
        self._chars_left = DECODED_CHARS_MAX
        self._trials_behind = 0  # Of the budget: what the slices behind this one may try.
        self.hits: dict[str, Found] = {}  # By id.
        self.blocking: Hit | None = None
        self.exhausted = False

    def turns(self, body: bytes) -> Iterator[None]:
        """Looks at what is new in a body; between two steps is time for others."""
        begin = self._new.begin
        starts = [begin + start for start in slices(len(body) - begin)]
        for start in starts:
            yield from self._slice(body[start : start + SLICE_BYTES], start)
            if self.blocking is not None:
                return
            if start == starts[-1]:
                break
            if self._is_spent:
                self.exhausted = True
                return
            yield
        if not self.hits and not self.exhausted:
            self._new.remember()

    @property
    def _is_spent(self) -> bool:
        """Whether nothing more can be found in this body, wherever it stands."""
        budget = self._budget
        return budget.words <= 0 or budget.bytes <= 0 or budget.trials + self._trials_behind <= 0

    def _slice(self, body: bytes, start: int) -> Iterator[None]:
        budget = self._budget
        self._trials_behind = max(0, budget.trials - SLICE_TRIALS_MAX)
        budget.trials -= self._trials_behind
        budget.pause_after(TURN_TRIALS)
        plain = body if body.isascii() and b"\\" not in body else unescaped(body)
        place = partial(place_in_body, body, start, plain is body)
        seen = self._new.seen
        if seen is None:
            yield from self._scan(self._matcher.trials(plain, budget), (), place)
            yield from self._look_inside(plain, None, place)
        else:
            budget.saw(seen.words)
            yield from self._scan(self._matcher.tried(plain, seen.candidates, budget), (), place)
            yield from self._look_inside(plain, (seen.hints, seen.first), place)
        self.exhausted = self.exhausted or budget.exhausted
        budget.trials += self._trials_behind
        self._trials_behind = 0

    def _look_inside(self, plain: bytes, known: tuple[Hint, int] | None, place: Place) -> Iterator[None]:
        """What is hidden from the first mark of an encoding on, and from the first one behind that, as far as the budget goes.
        `known`: the marks of `plain`."""
        passed = 0
        while plain and self.blocking is None:
            if self._chars_left <= 0 or self._is_spent:
                self.exhausted = True
                return
            hints, first = known or marks(plain)
            known = None
            if not hints:
                return
            start = max(0, first - BEFORE_MARK_BYTES)
            piece = plain[start : start + min(DECODED_BYTES_MAX, self._chars_left)]
            yield from self._decode(piece, hints, passed + start, place)
            passed += start + DECODED_BYTES_MAX - BEFORE_MARK_BYTES
            plain = plain[start + DECODED_BYTES_MAX - BEFORE_MARK_BYTES :]
            if len(plain) <= BEFORE_MARK_BYTES:
                return
            yield

    def _decode(self, piece: bytes, hints: Hint, begin: int, place: Place) -> Iterator[None]:
        text = piece.decode("utf-8", "replace")
        yield from self._takes(len(text) // DECODED_CHARS_OF_A_TRIAL)
        decoded = views(text, hints, chars_max=self._chars_left)[1:]
        self._chars_left -= len(text)  # Also where nothing was hidden.
        for view in decoded:
            self._chars_left -= len(view.text)
            said = view.text if view.text.isascii() else view.text.lower()
            raw = said.encode("utf-8", "replace")
            trials = self._matcher.trials(raw, self._budget)
            yield from self._scan(trials, view.via, partial(place_of_view, view, raw, piece, begin, place))
            if self.blocking is not None:
                return

    def _scan(self, trials: Iterable[Seen | None], via: tuple[str, ...], place: Place) -> Iterator[None]:
        for seen in trials:
            if seen is not None:
                self._note(seen, via, place)
            yield from self._takes(0)

    def _takes(self, trials: int) -> Iterator[None]:
        """Before something that takes as long as so many trials: in the next turn if it would make this one too long."""
        self._budget.took(trials)
        if self._budget.is_to_pause:
            yield
            self._budget.pause_after(TURN_TRIALS - trials)

    def _note(self, seen: Seen, via: tuple[str, ...], place: Place) -> None:
        hit = seen.hit
        known = self.hits.get(hit.id)
        if known is not None and (known.hit.severity == hit.severity or hit.severity != "high"):
            return
        self.hits[hit.id] = Found(hit, via, *place(seen.start, seen.end))
        if hit.severity == "high" and self.blocking is None:
            self.blocking = hit


_plain = native.function("llmproxy_plain", ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p)


def unescaped(body: bytes) -> bytes:
    """What the strings of a JSON body say, without parsing it: escapes undone, letters beyond ASCII in lower case."""
    plain = ctypes.create_string_buffer(len(body))
    length = _plain(body, len(body), plain)
    return plain.raw[:length]


_origin = native.function(
    "llmproxy_plain_origin", ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t
)


def place_in_body(part: bytes, begin: int, is_plain: bool, start: int, end: int) -> tuple[int, int]:
    """Of what the part of a body that begins there says: where in the body that is. `is_plain`: it says what it is."""
    if is_plain:
        return begin + start, begin + end
    plain = ctypes.create_string_buffer(len(part))
    return begin + _origin(part, len(part), plain, start), begin + _origin(part, len(part), plain, end)


def place_of_view(
    view: View, said: bytes, piece: bytes, begin: int, outer: Place, start: int, end: int
) -> tuple[int, int]:
    """Of what a view of a piece says: where in the body that is, or all of what was decoded. Where letters have changed their length, it is
    all of the piece."""
    text = piece.decode("utf-8", "replace")
    first, behind = 0, len(piece)
    if len(said.decode("utf-8", "replace")) == len(view.text) and len(text.encode()) == len(piece):
        first, behind = (len(text[:at].encode()) for at in placed(view, text, *in_characters(said, start, end))[:2])
    return outer(begin + first, begin + behind)


def conclude(context: Ingress, examination: Examination) -> Result:
    if examination.exhausted:
        metrics.FIREWALL_EXHAUSTED.inc()
    if not examination.hits:
        return PASS
    for found in examination.hits.values():
        hit = found.hit
        kind = f"firewall.{hit.category}"
        context.findings[kind] = context.findings.get(kind, 0) + 1
        metrics.FIREWALL.labels(hit.category if hit.category in CATEGORIES else "custom", hit.severity).inc()
    is_form = context.upload is not None
    context.explained = explained(_explain(found, is_form) for found in examination.hits.values())
    blocking = examination.blocking
    if blocking is None:
        return MODIFIED
    return Block(
        "content_blocked", f"the firewall found {blocking.category} in the request; remove it, or ask the operator"
    )


def _explain(found: Found, is_form: bool) -> Explanation:
    """Which signature where, in which view. Before anything is parsed there is no path, and in what was made of a form no place."""
    hit = found.hit
    return Explanation(
        guard="firewall",
        kind=f"firewall.{hit.category}",
        rule=hit.id,
        action="block" if hit.severity == "high" else "flag",
        start=0 if is_form else found.start,
        end=0 if is_form else found.end,
        via=found.via,
    )


CATEGORIES = frozenset(
    {
        *("override", "extraction", "developer-mode", "jailbreak", "role-hijack", "delimiter"),
        *("indirect", "exfiltration", "obfuscation", "multi-turn"),
    }
)
"""The shipped ones. A custom category is a name from the configuration, and not a label."""


LOOK_S = 1.0  # Between two looks whether files of signatures have changed.


class Rules:
    """The matcher that the configuration and the files of signatures ask for, and the change from one to the next."""

    def __init__(
        self, build: Callable[[config.Firewall], Matcher | None] | None = None, stamp: Callable[[], Stamp] = stamp
    ) -> None:
        self._build, self._stamp = build or build_matcher, stamp
        self._made_from = self._last_seen = stamp()
        self._settings: config.Firewall | None = None
        self.matcher: Matcher | None = None
        self.pending: asyncio.Future[Matcher | None] | None = None

    def follow(self, snapshot: config.Snapshot) -> None:
        """Called back at each change. The first matcher is made at once, a later one in a thread, while the old one is in force."""
        settings, known = snapshot.config.firewall, self._settings
        if settings == known:
            return
        self._settings = settings
        if known is None:
            self.matcher = self._build(settings)
            return
        self._make(settings)

    async def watch(self) -> None:
        """Until it is cancelled: takes over what is written to the files of signatures."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Files that have changed, and not since the last look, are read: what is half written would not be what was meant."""
        before, self._last_seen = self._last_seen, self._stamp()
        if self._settings is not None and self._last_seen == before != self._made_from:
            self._made_from = before
            self._make(self._settings)

    def _make(self, settings: config.Firewall) -> None:
        self.pending = asyncio.get_running_loop().run_in_executor(None, self._build, settings)
        self.pending.add_done_callback(self._swap)

    def warm(self) -> None:
        """Compiles what the first requests would otherwise have to, beside them."""
        if self.matcher is not None:
            self.matcher.warm_beside()

    def _swap(self, done: "asyncio.Future[Matcher | None]") -> None:
        if done is not self.pending or done.cancelled():
            return  # Another change came after it.
        if done.exception() is not None:
            log.error("the firewall's new signatures cannot be compiled; the old ones stay in force")
            return
        self.matcher = done.result()


def build_matcher(settings: config.Firewall) -> Matcher | None:
    if not settings.enabled:
        return None
    marks(b"")  # Its lexicon is read now and not before the first request.
    return matcher(None, settings.signatures, settings.disabled)
