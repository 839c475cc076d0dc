"""What operators do not want to be talked about, by words, expressions, and words that are nearly those (docs/rails.md)."""

from functools import lru_cache

from llmproxy.common.policy import Policy
from llmproxy.common.rails import Rails, Topic, sources
from llmproxy.common.segments import Segment
from llmproxy.shield.guards.base import Fitted
from llmproxy.shield.made import Made
from llmproxy.shield.rails.expressions import Expressions, finding
from llmproxy.shield.rails.fuzzy import Fuzzy
from llmproxy.shield.verdict import ALLOW, Verdict, found

KEPT_MAX = 64  # Compiled lists of topics.
NEARLY = 0.9  # What is recorded of a word that is not quite one of the list.
FUZZY_CHARS_MAX = 4_096  # A word that was never seen costs some 20 us to look up: longer texts are no place for a loop.


class Topics(Fitted):
    """Without topics it does nothing; `under` gives the guard of a policy."""

    name = "topics"
    kind = "topic"
    reads_answers = reads_parts = True

    def __init__(self, topics: tuple[Topic, ...] = ()) -> None:
        self.expressions = Expressions([source for topic in topics for source in sources(topic)])
        self._fuzzy = tuple((topic, Fuzzy(topic.fuzzy)) for topic in topics if topic.fuzzy)

    def applies(self, policy: Policy) -> bool:
        return bool(policy.rails.topics)

    def under(self, policy: Policy) -> "Topics":
        return _settled.of(policy.rails)

    def may_hold(self, text: str) -> bool:
        if self.expressions.may_hold(text):
            return True
        if self._fuzzy and len(text) > FUZZY_CHARS_MAX:
            return True
        return any(fuzzy.may_hold(text) for _, fuzzy in self._fuzzy)

    def is_quick(self, text: str) -> bool:
        if self._fuzzy and len(text) > FUZZY_CHARS_MAX:
            return False
        return self.expressions.is_quick(text)

    def inspect(self, segment: Segment) -> Verdict:
        findings = self.expressions.find(segment, self.kind)
        for topic, fuzzy in self._fuzzy:
            if not topic.roles or segment.role in topic.roles:
                findings += (
                    finding(topic, self.kind, start, end, score=NEARLY) for start, end in fuzzy.find(segment.text)
                )
        return found(findings) if findings else ALLOW


@lru_cache(KEPT_MAX)
def _of(topics: tuple[Topic, ...]) -> Topics:
    return Topics(topics)


_settled: Made[Rails, Topics] = Made(lambda rails: _of(rails.asking().topics))
