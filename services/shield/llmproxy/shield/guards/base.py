"""What every guard is."""

from typing import Protocol

from llmproxy.common.segments import Segment
from llmproxy.shield.verdict import Verdict


class Guard(Protocol):
    """Looks at one segment and says what to do. Pure, and linear in the length of the text."""

    name: str

    def may_hold(self, text: str) -> bool:
        """A look of microseconds: False only if `inspect` would allow any segment made of this text."""

    def inspect(self, segment: Segment) -> Verdict: ...
