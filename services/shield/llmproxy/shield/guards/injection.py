"""Text that gives the model orders it should not take, by a model that ships with the package (docs/models/injection.md).

It says how likely that is and where; from which probability on something follows, and what, is the policy's.
"""

from llmproxy.common.policy import INJECTION
from llmproxy.common.segments import Segment
from llmproxy.shield.guards.base import Apart
from llmproxy.shield.injection import model
from llmproxy.shield.verdict import ALLOW, Finding, Flag, Verdict, seen_in

PROBABILITY_MIN = 0.2  # Below it nobody can want to know: the share of attacks in the training data is as high.
CHARS_MIN, ASCII_CHARS_MIN = 4, 12  # Less is no order, in Chinese and in English.
SCORE_MAX = 0.9999  # Nothing is certain, so that a threshold of 1 is one that nothing reaches.


class Injection(Apart):
    """Weighs each text by its most suspicious window, in whatever way it is written."""

    name = INJECTION

    def may_hold(self, text: str) -> bool:
        return is_enough(text) and model.shipped().probability(text) >= PROBABILITY_MIN

    def inspect(self, segment: Segment) -> Verdict:
        if not is_enough(segment.text):
            return ALLOW
        seen = model.shipped().look(segment.text)
        if seen.probability < PROBABILITY_MIN:
            return ALLOW
        finding = Finding(
            INJECTION, seen.start, seen.end, "flag", min(round(seen.probability, 4), SCORE_MAX), rule=seen.rule
        )
        return Flag((seen_in(seen.view, segment.text, finding),))


def is_enough(text: str) -> bool:
    return len(text) >= (ASCII_CHARS_MIN if text.isascii() else CHARS_MIN)
