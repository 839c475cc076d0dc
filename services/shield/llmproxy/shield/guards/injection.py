"""Text that gives the model orders it should not take, by a model that ships with the package (docs/models/injection.md).

It says how likely that is and where; from which probability on something follows, and what, is the policy's.
"""

from llmproxy.common.policy import INJECTION
from llmproxy.common.segments import Segment
from llmproxy.shield.injection import features, model
from llmproxy.shield.verdict import ALLOW, Finding, Flag, Verdict

PROBABILITY_MIN = 0.05  # Below it nobody can want to know: the share of attacks in the training data is higher.


class Injection:
    """Scores each text by its most suspicious window of some eighty words."""

    name = INJECTION

    def may_hold(self, text: str) -> bool:
        return model.shipped().may_be(text)

    def inspect(self, segment: Segment) -> Verdict:
        window = model.shipped().find(segment.text)
        if window is None or window.probability < PROBABILITY_MIN or not segment.text:
            return ALLOW
        start, end = features.place(segment.text, window.first, window.last)
        return Flag((Finding(INJECTION, start, end, "flag", round(window.probability, 4)),))
