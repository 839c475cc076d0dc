"""The plugin host: five rings of steps, each with a priority, a time limit and a policy for its own failure.

Built-in guards and steps are registered here like any plugin, so the list of a ring is the whole truth about what runs.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Iterable, Iterator
from enum import IntEnum
from types import CoroutineType
from typing import Generic, Literal, Protocol, TypeVar

from msgspec import Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.records import StepInfo

C = TypeVar("C", contravariant=True)
D = TypeVar("D")

log = logging.getLogger(__name__)


class Ring(IntEnum):
    INGRESS = 1  # In the edge, before anything is parsed twice.
    PRE_FLIGHT = 2  # In the shield, on the way to the provider.
    ROUTING = 3  # In the router.
    POST_FLIGHT = 4  # In the shield, on the way back.
    BACKGROUND = 5  # In the audit service; never in the way.


class Pass(Struct, frozen=True):
    """Nothing to say."""


class Modify(Struct, frozen=True):
    """The step changed its context; later steps see the change."""


class Block(Struct, frozen=True):
    """Refuse the request. `code` is one of errors.CATALOGUE; the message is safe to show."""

    code: str
    message: str
    param: str = ""
    retry_after_ms: int = 0


class Respond(Struct, frozen=True):
    """Answer the request here, with this JSON body in the caller's dialect."""

    body: bytes
    status: int = 200


Result = Pass | Modify | Block | Respond
PASS, MODIFIED = Pass(), Modify()
GOES_ON = (Pass, Modify)  # A union of types would be made anew for each question.


class Step(Protocol[C]):
    """One thing that a ring does. `run` is called with the ring's context; it may be a coroutine function."""

    name: str
    priority: int  # Ascending.
    timeout_ms: int  # Bounds a coroutine; 0: it bounds itself. What is synchronous must be bounded by its input.
    fail: Literal["closed", "open"]

    def run(self, context: C, /) -> Result | Awaitable[Result]: ...


class Pipeline(Generic[D]):
    """The steps of one ring, in order. A step that fails closed blocks; it is never skipped for having failed before."""

    def __init__(self, ring: Ring, steps: Iterable[Step[D]]) -> None:
        self.ring = ring
        self.steps = tuple(sorted(steps, key=lambda step: step.priority))
        self.failed: dict[str, int] = {}  # Step name -> how often it raised or timed out.

    def only(self, steps: Iterable[Step[D]]) -> "Pipeline[D]":
        """Some of its steps, in the same order; what fails is counted here."""
        some = Pipeline(self.ring, steps)
        some.failed = self.failed
        return some

    def describe(self) -> list[StepInfo]:
        return [
            StepInfo(
                name=step.name,
                ring=int(self.ring),
                priority=step.priority,
                timeout_ms=step.timeout_ms,
                fail=step.fail,
            )
            for step in self.steps
        ]

    def start(self, context: D) -> Result | Awaitable[Result]:
        """Runs the steps at once as far as they are synchronous; a coroutine for the rest from the first that is not."""
        return self._go_on(iter(self.steps), context)

    def _go_on(self, steps: Iterator[Step[D]], context: D) -> Result | Awaitable[Result]:
        for step in steps:
            try:
                result = step.run(context)
            except Exception as error:  # noqa: BLE001 - a step is foreign code; its words may quote the request
                result = self._raised(step, error)
            if result is PASS or result is MODIFIED:  # Nearly always, and far cheaper than asking for the type.
                continue
            if isinstance(result, CoroutineType):  # To ask for each kind of result first would cost ten times as much.
                return self._finish(step, result, steps, context)
            if not isinstance(result, Result):
                if inspect.isawaitable(result):
                    return self._finish(step, result, steps, context)
                result = self._checked(step, result)
            if not isinstance(result, GOES_ON):
                return result
        return PASS

    async def run(self, context: D) -> Result:
        result = self.start(context)
        return result if isinstance(result, Result) else await result

    async def _finish(self, step: Step[D], pending: Awaitable[Result], others: Iterator[Step[D]], context: D) -> Result:
        result: Result
        try:
            if not step.timeout_ms:
                outcome = await pending
            else:
                async with asyncio.timeout(step.timeout_ms / 1000):
                    outcome = await pending
        except TimeoutError:
            result = self._failure(step, "timeout")
        except Exception as error:  # noqa: BLE001 - as above
            result = self._raised(step, error)
        else:
            result = self._checked(step, outcome)
        if result is not MODIFIED and not isinstance(result, GOES_ON):
            return result
        rest = self._go_on(others, context)
        if rest is PASS:
            return rest
        return rest if isinstance(rest, Result) else await rest

    def _checked(self, step: Step[D], outcome: object) -> Result:
        """A step that says nothing understandable has not said that the request may pass."""
        if outcome is PASS or outcome is MODIFIED or isinstance(outcome, Result):
            return outcome
        return self._failure(step, f"it returned {type(outcome).__name__}")

    def _raised(self, step: Step[D], error: Exception) -> Result:
        """An operating error that no retry mends is what the step has to say of the request; all else is its own failure."""
        if isinstance(error, GatewayError) and not error.retryable and step.fail == "closed":
            return Block(error.code, error.message, error.param)
        return self._failure(step, type(error).__name__)

    def _failure(self, step: Step[D], reason: str) -> Result:
        self.failed[step.name] = self.failed.get(step.name, 0) + 1
        log.error("step %s of ring %d failed: %s", step.name, self.ring, reason)
        if step.fail == "open":
            return PASS
        return Block("guard_unavailable", f"the {step.name} check could not be made; retry", retry_after_ms=1000)
