"""What the embedding model says of what the injection guard was not sure about, and what follows from it."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import structs

from llmproxy.common.embedding import EMBEDDING
from llmproxy.common.policy import Policy
from llmproxy.shield import metrics
from llmproxy.shield.convict import convict
from llmproxy.shield.embedding.stage import Question
from llmproxy.shield.examine import Examined, Refused
from llmproxy.shield.inspection import Doubt


class Weighs(Protocol):
    async def probabilities(self, questions: Sequence[Question], timeout_ms: int) -> list[float] | None:
        """One for each, in time; None when there is no answer."""
        ...


def question(doubt: Doubt) -> Question:
    return Question(doubt.text, doubt.start - doubt.begins, doubt.end - doubt.begins, doubt.score)


async def weighed(examined: Examined, policy: Policy, model: Weighs) -> Examined | Refused:
    """What was examined, with what the model says of what was uncertain. Without an answer, as it was."""
    doubts = examined.uncertain
    examined = structs.replace(examined, uncertain=())
    found = await model.probabilities([question(doubt) for doubt in doubts], policy.injection.embedding.timeout_ms)
    if found is None:
        metrics.WEIGHED.labels("failed").inc(len(doubts))
        return examined
    convicted = [
        (doubt, probability)
        for doubt, probability in zip(doubts, found, strict=True)
        if probability >= policy.injection.threshold(doubt.role)
    ]
    metrics.WEIGHED.labels("injection").inc(len(convicted))
    metrics.WEIGHED.labels("harmless").inc(len(doubts) - len(convicted))
    return convict(examined, policy, EMBEDDING, convicted) if convicted else examined
