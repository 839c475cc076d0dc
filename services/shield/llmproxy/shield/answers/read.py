"""Reads one text of an answer as it comes, in pieces or whole."""

from collections.abc import Hashable
from typing import Protocol

from llmproxy.shield.answers.aloud import Aloud, Values
from llmproxy.shield.answers.findings import Findings
from llmproxy.shield.answers.looks import Looks
from llmproxy.shield.answers.ordinary import Ordinary
from llmproxy.shield.answers.stage import Report
from llmproxy.shield.answers.stages import Carried, new_carried, new_leak, new_sentences, new_stages, new_watch
from llmproxy.shield.restore.held import Steps
from llmproxy.shield.window import Originals, Window


class Answer(Protocol):
    """What a text asks of the answer that it is of."""

    findings: Findings
    looks: Looks
    originals: Originals
    is_repeated: bool

    def carried(self, follows: Hashable) -> Carried | None: ...
    def carry(self, follows: Hashable, stages: Carried) -> None: ...
    def keep(self, said: str, becomes: str) -> None: ...


class Read:
    """One text."""

    __slots__ = (
        "_aloud", "_answer", "_becomes", "_carried", "_follows", "_leak", "_place", "_said", "_sentences", "_stages", "_values", "_watch", "_window",
    )  # fmt: skip

    def __init__(
        self,
        answer: Answer,
        report: Report,
        *,
        in_json: bool,
        is_value: bool = False,
        follows: Hashable = None,
        aloud: Aloud | None = None,
        place: Steps | str = (),
    ) -> None:
        """`aloud` hears it, if it is not told of it already."""
        self._answer, self._follows, self._aloud, self._place = answer, follows, aloud, place
        self._values = Values() if in_json and aloud is not None else None
        before = answer.carried(follows) if follows is not None else None
        looks = answer.looks
        self._carried = new_carried(looks, report, in_json=in_json) if before is None else before
        self._stages = new_stages(looks, report, self._carried, in_json=in_json, is_first=before is None)
        ordinary = Ordinary(in_json=in_json, is_value=is_value)
        self._watch, self._leak = new_watch(looks, report, ordinary, self._carried.end), new_leak(looks, report)
        self._sentences = new_sentences(looks, report)
        self._window = Window(answer.originals, in_json=in_json) if answer.originals.in_text else None
        self._said: list[str] = []
        self._becomes: list[str] = []

    @property
    def held(self) -> int:
        """Characters held back by all stages."""
        return sum(stage.held for stage in self._stages)

    def push(self, piece: str) -> str:
        if (aloud := self._aloud) is not None:
            if aloud.alone is self:
                aloud.said.append(piece)
            else:
                self._hear(aloud, piece)
        said = piece
        self._answer.findings.at = self._place
        for stage in self._stages:
            if not said:
                break
            said = stage.push(said)
        said = self._read(said)
        if self._answer.is_repeated:
            self._said.append(piece)
            self._becomes.append(said)
        return said

    @property
    def tells_all(self) -> bool:
        """Whether the system text is said in it."""
        return self._leak is not None and self._leak.found

    def _hear(self, aloud: Aloud, piece: str) -> None:
        if self._values is None:
            is_told = aloud.hear(self, piece)
        else:
            is_told = any([aloud.hear((self, which), value) for which, value in self._values.push(piece)])  # noqa: C419 - all are heard
        if is_told:
            self.tells_no_more()

    def tells_no_more(self) -> None:
        """That the system text is said in it was reported."""
        if self._leak is not None:
            self._leak.found = True

    def flush(self) -> str:
        if self._aloud is not None and self._values is not None:
            for which, value in self._values.flush():
                self._aloud.hear((self, which), value)
        said = ""
        self._answer.findings.at = self._place
        for stage in self._stages:
            said = (stage.push(said) if said else "") + stage.flush()
        said = self._read(said)
        self._watch.over()
        if self._sentences is not None:
            self._sentences.over()
        if self._leak is not None:
            self._leak.over()
            if self._leak.found and self._aloud is not None:
                self._aloud.found = True
        if self._window is not None:
            said += self._window.flush()
        if self._answer.is_repeated:
            self._answer.keep("".join(self._said), "".join(self._becomes) + said)
        if self._follows is not None:
            self._answer.carry(self._follows, self._carried._replace(end=self._watch.end))
        return said

    def _read(self, said: str) -> str:
        """What is said for certain."""
        if not said:
            return said
        self._watch.read(said)
        if self._sentences is not None:
            self._sentences.read(said)
        if self._leak is not None:
            self._leak.read(said)
        return self._window.push(said) if self._window is not None else said


class Observed:
    """One text that a provider signed: it is read, and stays as it is. To end the answer is all that can be done."""

    __slots__ = ("_read",)

    def __init__(self, answer: Answer, aloud: Aloud | None = None, place: Steps | str = ()) -> None:
        self._read = Read(answer, answer.findings.observe, in_json=False, aloud=aloud, place=place)

    def push(self, piece: str) -> str:
        self._read.push(piece)
        return piece

    def flush(self) -> str:
        self._read.flush()
        return ""
