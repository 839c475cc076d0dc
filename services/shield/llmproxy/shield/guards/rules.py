"""What operators forbid, replace or want to know of by regular expressions (docs/rails.md)."""

from functools import lru_cache

from llmproxy.common.policy import Policy
from llmproxy.common.rails import Rails, Rule, sources
from llmproxy.common.segments import Segment
from llmproxy.shield.guards.base import Fitted
from llmproxy.shield.made import Made
from llmproxy.shield.rails.expressions import Expressions
from llmproxy.shield.verdict import Verdict, found

KEPT_MAX = 64  # Compiled lists of rules.


class Rules(Fitted):
    """Without rules it does nothing; `under` gives the guard of a policy."""

    name = "rules"
    kind = "rule"
    reads_answers = reads_parts = True

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.expressions = Expressions([source for rule in rules for source in sources(rule)])

    def applies(self, policy: Policy) -> bool:
        return bool(policy.rails.rules)

    def under(self, policy: Policy) -> "Rules":
        return _settled.of(policy.rails)

    def may_hold(self, text: str) -> bool:
        return self.expressions.may_hold(text)

    def is_quick(self, text: str) -> bool:
        return self.expressions.is_quick(text)

    def inspect(self, segment: Segment) -> Verdict:
        return found(self.expressions.find(segment, self.kind))


@lru_cache(KEPT_MAX)
def _of(rules: tuple[Rule, ...]) -> Rules:
    return Rules(rules)


_settled: Made[Rails, Rules] = Made(lambda rails: _of(rails.asking().rules))
