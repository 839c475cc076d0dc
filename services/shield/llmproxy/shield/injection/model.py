"""The injection model: how likely it is that a text gives a language model orders it should not take.

Every view of the text (common/views.py) is weighed by itself: its most suspicious window and all of it, by linear models over what
the words mean and how they stand together, and the firewall's signatures that match. Reads `weights.bin`, written by tools/train_injection.py.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import islice
from math import exp, log

import msgspec
from msgspec import Struct, structs

from llmproxy.common import signatures
from llmproxy.common.recent import Recent
from llmproxy.common.signatures import Budget, Matcher, Seen
from llmproxy.common.views import View, hints, in_characters, views
from llmproxy.common.words import Candidate
from llmproxy.shield.injection import sentences, talk
from llmproxy.shield.injection.first import First, Open
from llmproxy.shield.injection.quiet import NOTHING_IS_QUIET, Quiet
from llmproxy.shield.injection.sweep import TEXTS_MAX, Sweep, lowered
from llmproxy.shield.injection.windows import FILTER_BYTES, Reader, Worst, fold

WEIGHTS = "weights.bin"
LOGIT_MAX = 30.0  # Beyond it a probability is 0 or 1 anyway.
SCORE_MAX = 20.0  # Of a window: one word repeated says no more than that.

WHOLE_WEIGHT, WHOLE_MIN, WHOLE_MAX = 0.5, -2.0, 8.0
"""What the whole text says beside its worst window: much of a jailbreak is in its manner. Bounded below, so that no padding hides an
attack."""
PROBABILITY_MIN = 0.2  # Below it nobody can want to know: the share of attacks in the training data is as high.

OTHERS_WEIGHT, OTHERS_MIN, OTHERS_MAX, OTHERS_USUAL = 0.4, -3.0, 0.0, -2.0
"""An injection is a foreign body in its document; what its topic or its language makes suspicious is so throughout."""
OTHERS_WINDOWS_MIN = 3  # With fewer windows the others share their words with the worst.
WINDOWS_WEIGHT, WINDOWS_MAX = 0.3, 32
"""The worst of many windows is worse by chance alone. Both are bounded, so that no padding hides an attack."""

ALONE_MAX, ALONE_COST = 8, 0.5
"""A sentence in which a signature matches is judged by itself, too: in a long document an order is one of many sentences. It takes a bit
more to convince, for there is nothing around it that speaks against it."""

DECODED_CHARS_MAX = 16_384  # Of one text, in all its views.
WORDS_MIN, TRIALS_MIN, TRIED_BYTES_MIN = 16_000, 400, 262_144
"""What the signatures may spend on one text, which no short one needs; a long one has more, so that its end is looked at like its beginning."""

BYTES_PER_WORD, BYTES_PER_TRIAL, BYTES_TRIED_PER_BYTE = 1, 16, 16
"""Prose has a word in 6 bytes and a trial in 60 to 400."""


class Header(Struct, frozen=True, kw_only=True):
    """What stands before the tables, as one line of JSON."""

    version: int
    scale: float  # Of one step of a window's weight; its score is scale * steps + bias.
    bias: float
    whole_scale: float  # The same of a whole text.
    whole_bias: float
    slope: float  # logit = slope * standing_out(score of both, …) + intercept + those of `rules` that match, and `several` - ALONE_COST.
    intercept: float
    rules: dict[str, float]  # Of "<category>.<severity>" of signatures.
    several: float  # Of each of these that matches beside the first.
    entries: int  # Bytes of the table of words.
    threshold: float  # That the policy's default was chosen from; the policy's own is what counts.


class Evidence(Struct, frozen=True):
    """What one view of a text shows: its most suspicious window, in bytes of the folded text, and the signatures in it."""

    steps: float
    start: int
    end: int
    others: float = 0.0  # The mean of all other windows, in steps too.
    windows: int = 1
    whole: float = 0.0  # All of it, in steps of its own.
    rules: frozenset[str] = frozenset()  # As Header.rules names them.
    hits: tuple[str, ...] = ()  # Ids, the most severe first.
    alone: bool = False  # Of a sentence by itself.


class Weighed(Struct, frozen=True):
    """The view of a text that is most likely an injection."""

    probability: float
    evidence: Evidence
    view: View


class Suspicion(Struct, frozen=True):
    """Where that is: `view.text[start:end]`, with the signature that says most."""

    probability: float
    view: View
    start: int
    end: int
    rule: str = ""


NO_EVIDENCE = Evidence(float("-inf"), 0, 0, windows=0)
SEVERITIES = ("high", "medium", "low")


class Model:
    """Reads any text, in time linear in its length."""

    def __init__(self, header: Header, reader: Reader, matcher: Matcher) -> None:
        self.header, self._reader, self.matcher = header, reader, matcher
        self._sweep = Sweep(reader, matcher.near)
        self._quiet = quiet_below(header)

    def probability(self, text: str) -> float:
        return self.weigh(text).probability

    def look(self, text: str) -> Suspicion:
        """Where a text is most suspicious, and how likely it is an injection."""
        return place(self.weigh(text))

    def weigh(self, text: str, budget: Budget | None = None) -> Weighed:
        """`budget`: what the signatures may spend on all views; without one each view has all that it may need."""
        found = [self._settled(self.worst(view.text, budget), view, budget) for view in _views(text)]
        return max(found, key=lambda one: self.logit(one.evidence)) if len(found) > 1 else found[0]

    def suspects(self, texts: Sequence[str], budget: Budget | None = None) -> Iterator[Weighed | None]:
        """Each text as `weigh` does, in order; None for one that is less likely than PROBABILITY_MIN, which nearly all are."""
        for first in range(0, len(texts), TEXTS_MAX):
            some = texts[first : first + TEXTS_MAX]
            seen, words = self._sweep.over(some, WORDS_MIN if budget is None else budget.words)
            if budget is not None:
                budget.words -= words
            for text, one in zip(some, seen, strict=True):
                weighed = self._suspect(text, *one, budget) if one is not None else self.weigh(text, budget)
                yield weighed if weighed is not None and weighed.probability >= PROBABILITY_MIN else None

    def first(self, recent: Recent) -> First:
        """The first look that goes with this model."""
        return First(self._sweep, self._quiet, recent)

    def opened(self, one: Open, budget: Budget) -> Weighed | None:
        """As `suspects`, of a text of which the first look has seen something."""
        if one.seen is None and not one.text.isascii():  # It was not folded.
            return next(self.suspects((one.text,), budget))
        weighed = self._suspect(one.text, *one.seen, budget) if one.seen is not None else self.weigh(one.text, budget)
        return weighed if weighed is not None and weighed.probability >= PROBABILITY_MIN else None

    def _suspect(
        self, text: str, worst: Worst, candidates: Sequence[Candidate], budget: Budget | None
    ) -> Weighed | None:
        """Of a text that hides nothing; None where it is certain at a glance."""
        seen: list[Seen] = []
        if candidates:
            plain = text.encode() if text.isascii() else lowered(text)
            seen = [one for one in self.matcher.tried(plain, candidates, budget or ample(len(plain))) if one]
        if not seen and self._quiet.holds(worst):
            return None
        evidence = self._worst_of(_evidence(worst, seen), self._alone(text, plain, seen, budget) if seen else ())
        return self._settled(evidence, View(text), budget)

    def _settled(self, evidence: Evidence, view: View, budget: Budget | None) -> Weighed:
        """What is suspicious is read again without what it only speaks of."""
        weighed = Weighed(self._probability(evidence), evidence, view)
        if weighed.probability < PROBABILITY_MIN:
            return weighed
        text = without_talk(view.text, budget)
        if text is None:
            return weighed
        evidence = self.worst(text, budget)
        probability = self._probability(evidence)
        if probability >= weighed.probability:
            return weighed
        start, end = _folded(view.text, *characters(text, evidence.start, evidence.end))
        return Weighed(probability, structs.replace(evidence, start=start, end=end), view)

    def worst(self, text: str, budget: Budget | None = None) -> Evidence:
        """What speaks the most for an injection in a text as it stands: all of it, or one of its sentences."""
        whole, *alone = self.readings(text, budget)
        return self._worst_of(whole, alone)

    def readings(self, text: str, budget: Budget | None = None) -> list[Evidence]:
        """Of a text as it stands, without what it hides: of all of it, and of each sentence in which a signature matches."""
        raw = fold(text).encode("utf-8", "replace")
        worst = self._reader.worst(raw)
        if worst is None:
            return [NO_EVIDENCE]
        plain = raw if text.isascii() else lowered(text)
        seen = [one for one in self.matcher.trials(plain, budget or ample(len(plain))) if one is not None]
        return [_evidence(worst, seen), *self._alone(text, plain, seen, budget)]

    def _alone(self, text: str, plain: bytes, seen: Sequence[Seen], budget: Budget | None) -> Iterator[Evidence]:
        bounds = dict.fromkeys(sentences.around(plain, one.start, one.end) for one in sorted(seen, key=_rank))
        for start, end in islice(bounds, ALONE_MAX):
            sentence = plain[start:end]
            if len(sentence) == len(plain):
                return
            found = self._reader.worst(fold(sentence.decode("utf-8", "ignore")).encode("utf-8", "replace"))
            inside = [one for one in self.matcher.trials(sentence, budget or ample(len(sentence))) if one is not None]
            if found is not None and inside:
                first, last = _folded(text, *in_characters(plain, start, end))
                yield structs.replace(_evidence(found, inside), start=first, end=last, alone=True)

    def _worst_of(self, whole: Evidence, alone: Iterable[Evidence]) -> Evidence:
        return max((whole, *alone), key=self.logit)

    def score(self, seen: Evidence) -> float:
        """Of the words alone."""
        header = self.header
        of_text = max(WHOLE_MIN, min(WHOLE_MAX, header.whole_scale * seen.whole + header.whole_bias))
        score = max(-SCORE_MAX, min(SCORE_MAX, header.scale * seen.steps + header.bias)) + WHOLE_WEIGHT * of_text
        if seen.windows > 1:
            return standing_out(score, header.scale * seen.others + header.bias, seen.windows)
        return score

    def logit(self, seen: Evidence) -> float:
        header = self.header
        logit = header.slope * self.score(seen) + header.intercept - (ALONE_COST if seen.alone else 0.0)
        if not seen.rules:
            return logit
        return logit + sum(header.rules.get(rule, 0.0) for rule in seen.rules) + header.several * (len(seen.rules) - 1)

    def _probability(self, seen: Evidence) -> float:
        return 1 / (1 + exp(-max(-LOGIT_MAX, min(LOGIT_MAX, self.logit(seen)))))


def standing_out(worst: float, others: float, windows: int) -> float:
    """How suspicious a text of several windows is: the score of the worst one and of the text by how the rest of it reads."""
    score = worst - WINDOWS_WEIGHT * log(min(windows, WINDOWS_MAX))
    if windows < OTHERS_WINDOWS_MIN:
        return score
    return score - OTHERS_WEIGHT * (max(OTHERS_MIN, min(OTHERS_MAX, others)) - OTHERS_USUAL)


def _evidence(worst: Worst, seen: Sequence[Seen]) -> Evidence:
    if not seen:
        return Evidence(*worst)
    hits = [one.hit for one in sorted(seen, key=_rank)]
    rules = frozenset(f"{hit.category}.{hit.severity}" for hit in hits)
    return Evidence(*worst, rules, tuple(hit.id for hit in hits))


def _rank(seen: Seen) -> int:
    """The most severe first."""
    return SEVERITIES.index(seen.hit.severity)


RAISED_MAX = OTHERS_WEIGHT * (OTHERS_USUAL - OTHERS_MIN) - WINDOWS_WEIGHT * log(OTHERS_WINDOWS_MIN)
"""The most that `standing_out` adds to the score of a window."""

QUIET_MARGIN = 1e-6  # More than rounding can make of a score.


def quiet_below(header: Header) -> Quiet:
    """What is less likely than PROBABILITY_MIN, for certain: what is close is computed."""
    if header.slope <= 0 or header.scale <= 0 or header.whole_scale <= 0:
        return NOTHING_IS_QUIET
    score = (log(PROBABILITY_MIN / (1 - PROBABILITY_MIN)) - header.intercept) / header.slope - RAISED_MAX - QUIET_MARGIN
    if not WHOLE_WEIGHT * WHOLE_MAX - SCORE_MAX < score < SCORE_MAX:  # Beyond it scores are cut.
        return NOTHING_IS_QUIET
    return Quiet(
        below=(score - header.bias - WHOLE_WEIGHT * header.whole_bias) / header.scale,
        weight=WHOLE_WEIGHT * header.whole_scale / header.scale,
        least=(WHOLE_MIN - header.whole_bias) / header.whole_scale,
    )


def ample(size: int) -> Budget:
    """What the signatures may spend on a text of so many bytes."""
    return Budget(
        max(WORDS_MIN, size // BYTES_PER_WORD),
        max(TRIALS_MIN, size // BYTES_PER_TRIAL),
        max(TRIED_BYTES_MIN, size * BYTES_TRIED_PER_BYTE),
    )


def _views(text: str) -> list[View]:
    suspected = hints(text)
    return views(text, suspected, chars_max=DECODED_CHARS_MAX) if suspected else [View(text)]


def place(weighed: Weighed) -> Suspicion:
    seen, view = weighed.evidence, weighed.view
    start, end = characters(view.text, seen.start, seen.end)
    return Suspicion(weighed.probability, view, start, end, seen.hits[0] if seen.hits else "")


def without_talk(text: str, budget: Budget | None = None) -> str | None:
    """A text without what it only speaks of, each character where it was; None when it speaks of nothing."""
    plain = lowered(text)
    return talk.without(text, plain, budget or ample(len(plain)))


def _folded(text: str, first: int, last: int) -> tuple[int, int]:
    """Bytes of the folded text for characters of it; all of it where folding has moved them. `characters` is the way back."""
    if text.isascii():
        return first, last
    folded = fold(text)
    if len(folded) != len(text):
        return 0, len(folded.encode("utf-8", "replace"))
    return len(folded[:first].encode("utf-8", "replace")), len(folded[:last].encode("utf-8", "replace"))


def characters(text: str, start: int, end: int) -> tuple[int, int]:
    """Characters for bytes of the folded text; the whole text where folding has moved them."""
    if text.isascii():
        return start, end
    folded = fold(text)
    if len(folded) != len(text):
        return 0, len(text)
    return in_characters(folded.encode("utf-8", "replace"), start, end)


def pack(header: Header, entries: bytes, known: bytes, weights: bytes) -> bytes:
    """The bytes of a weights file."""
    return msgspec.json.encode(header) + b"\n" + zlib.compress(entries + known + weights, 9)


def read(data: bytes, matcher: Matcher) -> Model:
    """A model from the bytes of a weights file. ValueError if it belongs to other features."""
    head, _, packed = data.partition(b"\n")
    header = msgspec.json.decode(head, type=Header)
    tables = zlib.decompress(packed)
    entries, rest = tables[: header.entries], tables[header.entries :]
    return Model(header, Reader(entries, rest[:FILTER_BYTES], rest[FILTER_BYTES:]), matcher)


@cache
def shipped() -> Model:
    """The model that comes with the package, read once."""
    data = resources.files(__package__).joinpath(WEIGHTS).read_bytes()
    return read(data, signatures.matcher())
