"""Ring 4: what comes back is unmasked. Each event of an answer goes through the steps, which may replace it."""

from typing import Literal

from llmproxy.common.errors import GatewayError
from llmproxy.common.plugins.host import MODIFIED, PASS, Block, Modify, Pass, Pipeline, Result, Ring
from llmproxy.shield.restore.whole import Restorer

UNMASK_PRIORITY = 90


class Passage:
    """One answer on its way back. `events` are what the caller gets in place of the event that came."""

    def __init__(self, restorer: Restorer) -> None:
        self.restorer = restorer
        self.events: list[bytes] = []
        self.is_over = False  # The answer has ended; what steps still hold is to come out.

    def through(self, ring: Pipeline["Passage"], event: bytes) -> GatewayError | None:
        """Runs the ring over one event; `b""` is the end. Returns why the answer cannot go on, if so."""
        self.is_over = not event
        self.events = [event] if event else []
        match ring.start(self):
            case Pass() | Modify():
                return None
            case Block() as block:
                self.events = []
                return GatewayError(block.code, block.message, param=block.param, retry_after_ms=block.retry_after_ms)
            case _:
                raise AssertionError("the steps of this ring are synchronous and do not answer")


class Unmask:
    """The step that puts the originals back."""

    name = "unmask"
    priority = UNMASK_PRIORITY
    timeout_ms = 1_000
    fail: Literal["closed", "open"] = "closed"

    def run(self, passage: Passage) -> Result:
        if passage.is_over:
            passage.events += passage.restorer.end()
            return MODIFIED
        before = passage.events
        passage.events = [restored for event in before for restored in passage.restorer.chunk(event)]
        return PASS if passage.events == before else MODIFIED


def pipeline() -> Pipeline[Passage]:
    return Pipeline(Ring.POST_FLIGHT, [Unmask()])
