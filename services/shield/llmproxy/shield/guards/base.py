"""What every guard is."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.shield.defined import NOTHING, Defined
from llmproxy.shield.verdict import Verdict


class Guard(Protocol):
    """Looks at one segment and says what to do. Pure, and linear in the length of the text."""

    name: str

    def may_hold(self, text: str) -> bool:
        """A look of microseconds: False only if `inspect` would allow any segment made of this text."""

    def inspect(self, segment: Segment) -> Verdict: ...


class Fitted:
    """A guard that is another one under each policy, and may be too slow for the event loop: there its quick look is all that it does.

    A class, because an `isinstance` of a protocol costs microseconds, and this one is asked for every request.
    """

    reads_answers = False  # Answers are read in the loop, where only a quick guard may look.
    reads_parts = False  # What it looks for may stand in several parts of a message,
    reads_seams = False  # or is as short as a value, so it is enough to look where one part ends and the next begins.

    def applies(self, policy: Policy) -> bool:
        raise NotImplementedError

    def under(self, policy: Policy) -> Guard:
        raise NotImplementedError

    def goes_on(self, pieces: Sequence[str]) -> bool:
        """Whether what it found in several parts, in these pieces, is one thing, and not what stands in the first with what follows it."""
        return True

    def is_quick(self, text: str) -> bool:
        """Whether the loop may do more with these words than look at them quickly."""
        return False


IsLate = Callable[[], bool]
"""Whether the loop has no more time for a request."""


def never() -> bool:
    return False


class Apart:
    """A guard that weighs a text as a whole: its quick look is at each text by itself, never at all of them joined."""

    def sparing(self, tenant: bytes, is_late: IsLate = never) -> "Spent | None":
        """For the texts of one request of a tenant in the event loop: the same guard with a bound on its quick looks; None where they
        need none. `is_late` is asked before each text that takes longer than the first look."""
        return None

    def defined(self, tree: dict[str, Any], tenant: bytes, *, is_in_loop: bool) -> Defined:
        """Definitions that it has to look at, whatever its quick look says of their texts."""
        return NOTHING


class Spent(Guard, Protocol):
    """When `is_spent`, its quick looks have said nothing that counts."""

    @property
    def is_spent(self) -> bool: ...

    def look(self, texts: list[str]) -> int:
        """The first look at many texts, for all guards: what any of them may hold, as the bits of `look.Look`."""
        ...

    def suspects(self) -> set[str]:
        """Of the texts of the last `look` those in which `inspect` may see something."""
        ...


class Sighted:
    """A guard that finds nothing where the first look has set none of these bits of `look.Look`."""

    needs: int
