"""One body in, what to do with it out: pure, so that it runs in the loop for small bodies and in a process for large ones."""

from collections.abc import Callable

from msgspec import Struct, structs

from llmproxy.common import segments
from llmproxy.common.errors import GatewayError
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.plugins.host import MODIFIED, PASS, Block, Modify, Pass, Pipeline
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.asked import NOTHING, Asked, asked
from llmproxy.shield.chain import unmeasured
from llmproxy.shield.continuation import Continuation, continuation
from llmproxy.shield.inspection import Doubt, Inspection, TooMuch, doubts, uncertain

NO_FINDINGS: dict[str, int] = {}  # Nobody adds to it.


class Order(Struct, frozen=True, kw_only=True):
    """All that the examination of a body depends on."""

    body: bytes
    policy: Policy
    key: bytes  # The tenant's, for placeholders.
    max_depth: int
    model: str = ""  # Where the path names it and the body does not.
    is_continued: bool = False  # Its API has conversations that the provider keeps.
    is_weighed: bool = False  # Somebody here can say more about what is uncertain.


class Examined(Struct, frozen=True, kw_only=True):
    """The body may go on: as it is (`masked` is None) or as `masked`."""

    masked: bytes | None = None
    originals: dict[str, str] = {}  # Placeholder -> what comes back in its place.
    findings: dict[str, int] = {}  # Kind -> count.
    explained: Explained | None = None
    uncertain: tuple[Doubt, ...] = ()  # What the embedding model is to be asked about,
    doubts: tuple[Doubt, ...] = ()  # and a judge, before the body goes on.
    continuation: Continuation | None = None  # What other requests of the same conversation are to be compared with.
    asked: Asked = NOTHING  # What the answer is compared with, where it may be inspected.


class Refused(Struct, frozen=True, kw_only=True):
    """The body may not go on. A value rather than an exception, because it also crosses a process boundary."""

    code: str
    message: str
    param: str = ""
    retry_after_ms: int = 0
    findings: dict[str, int] = {}
    explained: Explained | None = None

    def error(self) -> GatewayError:
        return GatewayError(self.code, self.message, param=self.param, retry_after_ms=self.retry_after_ms)


def examine(
    order: Order, ring: Pipeline[Inspection], clock: Callable[[], float], cpu: Callable[[], float] = unmeasured
) -> Examined | Refused:
    """`cpu` tells a text that takes too long by itself from a machine that is busy."""
    answer = examine_within(None, order, ring, clock, cpu)
    assert answer is not None, "nothing is too much without a bound"
    return answer


def examine_within(
    work_max: int | None,
    order: Order,
    ring: Pipeline[Inspection],
    clock: Callable[[], float],
    cpu: Callable[[], float] = unmeasured,
    loop_cpu: Callable[[], float] = unmeasured,
) -> Examined | Refused | None:
    """None when the body needs more than `work_max` segments and findings to be looked at, or too much of `loop_cpu`: examine it elsewhere."""
    try:
        inspection = Inspection(
            order.body,
            policy=order.policy,
            key=order.key,
            max_depth=order.max_depth,
            model=order.model,
            clock=clock,
            cpu=cpu,
            work_max=work_max,
            loop_cpu=loop_cpu,
        )
    except TooMuch:
        return None
    except GatewayError as error:
        why = Explanation(guard="shield", kind="unreadable", action="block", path=segments.shown(error.param))
        return Refused(
            code=error.code,
            message=error.message,
            param=error.param,
            explained=Explained((why,)) if error.code == "content_blocked" else None,
        )
    if inspection.is_given_up:
        return None
    result = ring.start(inspection)
    if result is PASS or result is MODIFIED:  # Nearly always, and cheaper than to match.
        return _examined(order, inspection)
    match result:
        case Block() as block:
            return Refused(
                code=block.code,
                message=block.message,
                param=block.param,
                retry_after_ms=block.retry_after_ms,
                findings=inspection.counts(),
                explained=inspection.explained(),
            )
        case Pass() | Modify():
            return _examined(order, inspection)
        case _:
            raise AssertionError("the steps of this ring are synchronous and do not answer")


def _examined(order: Order, inspection: Inspection) -> Examined | None:
    if inspection.is_looked_at and inspection.is_too_much:
        return None
    is_any_seen = inspection.seen or inspection.failed
    return Examined(
        masked=inspection.masked,
        originals=inspection.originals,
        findings=inspection.counts() if is_any_seen else NO_FINDINGS,
        explained=inspection.explained() if is_any_seen else None,
        uncertain=uncertain(inspection) if order.is_weighed else (),
        doubts=doubts(inspection) if inspection.suspicions else (),
        continuation=continuation(inspection) if order.is_continued else None,
        asked=_asked(inspection),
    )


def _asked(inspection: Inspection) -> Asked:
    if inspection.policy.answers.when == "never":
        return NOTHING
    found = asked(inspection.tree, inspection.said, inspection.turns)
    return structs.replace(found, canary=inspection.canary) if inspection.canary else found
