"""What is found in one answer: counted by its kind, and explained with where it stands."""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct, structs

from llmproxy.common import segments
from llmproxy.common.answers import ANSWER, REMOVED
from llmproxy.common.explanations import Explanation, per_mille
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.restore.held import Steps
from llmproxy.shield.verdict import Finding

EXPLANATIONS_MAX = 64  # Of one answer; the record keeps the most severe.


class Findings(Struct):
    """`counts`: what was found, by kind as it is recorded. To report raises `Stopped`, where that is what the setting says."""

    counts: dict[str, int] = {}
    explanations: list[Explanation] = []
    is_counting: bool = True  # Not where an event is read once more, to write it.
    at: Steps | str = ()  # Which text is read: the steps to it or, of one that came whole, the text itself,
    tree: Any = None  # which is somewhere in here.

    def report(self, finding: Finding) -> bool:
        kind, action = ANSWER + finding.kind, finding.action
        if self.is_counting:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self._explain(finding)
        if action == "block":
            raise Stopped(finding.kind)
        return action in REMOVED

    def observe(self, finding: Finding) -> bool:
        """As `report`, of a text that stays as it is."""
        self.report(structs.replace(finding, action="flag") if finding.action in REMOVED else finding)
        return False

    def _explain(self, finding: Finding) -> None:
        if len(self.explanations) < EXPLANATIONS_MAX or finding.action == "block":
            self.explanations.append(
                Explanation(
                    guard=finding.guard,
                    kind=finding.kind,
                    action=finding.action,
                    rule=finding.rule,
                    side="answer",
                    path=self._path(),
                    start=max(0, finding.start),
                    end=max(0, finding.end),
                    via=finding.via,
                    per_mille=per_mille(finding.score),
                )
            )

    def _path(self) -> str:
        """Of the text that is read; "" where it stands beside the texts of a stream."""
        if type(self.at) is not str:
            return segments.shown(segments.join(tuple(_flat(self.at))))
        return segments.shown(segments.join(steps)) if (steps := _steps_to(self.at, self.tree)) is not None else ""


def _flat(place: Iterable[Any]) -> Iterator[str | int]:
    for step in place:
        if type(step) is tuple:
            yield from _flat(step)
        elif type(step) is str:
            yield step.rpartition(".")[2]  # Of an event's kind its own part.
        elif type(step) is int:
            yield step


def _steps_to(text: str, tree: Any) -> Steps | None:
    """Where in a tree this very string stands: asked when something was found in it, for to carry the way along costs every text."""
    for step, item in tree.items() if type(tree) is dict else enumerate(tree) if type(tree) is list else ():
        if item is text:
            return (step,)
        if type(item) in (dict, list) and (steps := _steps_to(text, item)) is not None:
            return (step, *steps)
    return None
