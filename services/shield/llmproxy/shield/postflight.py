"""Ring 4: what comes back is read and unmasked. Each event of an answer goes through the steps, which may replace it."""

from typing import Literal

from llmproxy.common import explanations, segments
from llmproxy.common.errors import GatewayError
from llmproxy.common.explanations import Explained
from llmproxy.common.plugins.host import MODIFIED, PASS, Block, Modify, Pass, Pipeline, Result, Ring
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.restore import chat
from llmproxy.shield.restore.held import Texts
from llmproxy.shield.restore.whole import Encoded, Restorer

ANSWER_PRIORITY = 90
NOTHING: dict[str, int] = {}


class Passage:
    """One answer on its way back. `events` are what the caller gets in place of the event that came."""

    __slots__ = ("counts", "events", "is_over", "reading", "restorer", "texts")

    def __init__(self, texts: Texts, restorer: Restorer) -> None:
        self.texts, self.restorer = texts, restorer
        self.reading = reading = texts if isinstance(texts, Reading) else None  # Where the answer is inspected.
        self.counts = NOTHING if reading is None else reading.findings.counts  # What was found so far: kind -> count.
        self.events: list[bytes] = []
        self.is_over = False  # The answer has ended; what steps still hold is to come out.

    @property
    def is_slow(self) -> bool:
        """Whether it may take longer than an event loop has, whatever the event."""
        return self.reading is not None and self.reading.may_be_slow and self.reading.is_slow

    @property
    def explained(self) -> Explained | None:
        return explanations.explained(self.reading.findings.explanations) if self.reading is not None else None

    def is_prose(self, event: bytes) -> bool:
        """Whether a glance tells that the event stays as it is."""
        return isinstance(self.restorer, chat.Whole) and self.restorer.is_prose(event)

    def reads_plain_text(self) -> None:
        """The answer is no JSON."""
        self.restorer = Encoded(self.texts)

    def through(self, ring: Pipeline["Passage"], event: bytes, *, is_last: bool = False) -> GatewayError | None:
        """Runs the ring over one event; `b""` is the end, if that has not come with the last event. Returns why the answer cannot go on, if so."""
        self.is_over = is_last or not event
        self.events = [event] if event else []
        result = ring.start(self)
        if result is PASS or result is MODIFIED:  # Nearly always, and cheaper than to match.
            return None
        match result:
            case Pass() | Modify():
                return None
            case Block() as block:
                self.events = []
                return GatewayError(block.code, block.message, param=block.param, retry_after_ms=block.retry_after_ms)
            case _:
                raise AssertionError("the steps of this ring are synchronous and do not answer")


class Answer:
    """The step that reads every text of an answer, as the policy wants it, and puts the originals back."""

    name = "answer"
    priority = ANSWER_PRIORITY
    timeout_ms = 1_000
    fail: Literal["closed", "open"] = "closed"

    def run(self, passage: Passage) -> Result:
        if passage.reading is not None:
            passage.reading.begin()
        before = passage.events
        for event in before:
            if segments.is_ambiguous(event):  # What was read need not be what a client reads.
                return Block("provider_bad_answer", "the answer has a key twice in one object")
        try:
            if len(before) == 1:  # As where no other step has looked at it.
                passage.events = passage.restorer.chunk(before[0])
            else:
                passage.events = [restored for event in before for restored in passage.restorer.chunk(event)]
            if passage.is_over:
                passage.events += passage.restorer.end()
            elif passage.reading is not None:
                passage.reading.end()
            return PASS if passage.events == before else MODIFIED
        except Stopped as stopped:
            return Block("content_blocked", f"the answer holds what the policy blocks: {stopped.kind}")


def pipeline() -> Pipeline[Passage]:
    return Pipeline(Ring.POST_FLIGHT, [Answer()])
