"""Plans which endpoints a request may try, in which order, and sends it on its way as a routing slip.

Everything is synchronous and in memory, but for one case: when the best endpoint is half-open, one Redis call decides
whether this request is its probe.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import REQUEST_CALL
from llmproxy.common.envelope import Attempt, Envelope, planned
from llmproxy.common.errors import GatewayError
from llmproxy.common.plugins.host import MODIFIED, PASS, Block, Modify, Pass, Pipeline, Respond, Result, Ring, Step
from llmproxy.router import metrics
from llmproxy.router.choose import STRATEGIES
from llmproxy.router.circuits import Circuits
from llmproxy.router.tables import Route, Tables

TURNS_MAX = 1 << 30
MODEL_CHARS_SHOWN = 128
ENDPOINTS_SHOWN = 8


class Planning(Struct, eq=False):
    """One request's way through ring 3: each step fills in or narrows what the next one reads."""

    envelope: Envelope
    tables: Tables
    _monotonic_ms: Callable[[], int]
    route: Route | None = None
    candidates: list[Attempt] = []
    waiting: list[Attempt] = []  # Left out because a circuit is open.
    plan: tuple[Attempt, ...] = ()

    @property
    def now_ms(self) -> int:
        """Hardly ever asked: only circuits that are not closed know a time."""
        return self._monotonic_ms()


class Lease(Protocol):
    """Takes the one probe of a half-open model, or endpoint, if it is free."""

    async def __call__(self, endpoint: str, model: str, request_id: str, /) -> bool: ...


class Resolve:
    """The model's route through the API that was called; 404 without a route, 400 where none of its endpoints serves the API,
    403 where none may be asked for want of a price."""

    name, priority, timeout_ms = "resolve", 100, 10
    fail: Literal["closed", "open"] = "closed"

    def run(self, context: Planning, /) -> Result:
        envelope = context.envelope
        context.route = route = context.tables.find(envelope.model, envelope.api)
        if route is None:
            return Block(
                "model_not_found",
                f"The model `{_shown(envelope)}` does not exist or you do not have access to it.",
                "model",
            )
        if not (route.primary or route.fallback):
            if route.unpriced:
                return Block("model_not_priced", _unpriced(envelope, route), "model")
            return Block("unsupported_endpoint", _nobody(envelope, context.tables.able(envelope.api)), "model")
        return PASS


def _nobody(envelope: Envelope, able: list[str]) -> str:
    shown = ", ".join(able[:ENDPOINTS_SHOWN])
    advice = f"models of these endpoints can: {shown}" if able else "no configured endpoint can; add one that does"
    return f"The model `{_shown(envelope)}` cannot be called through the {envelope.api} API: {advice}"


def _unpriced(envelope: Envelope, route: Route) -> str:
    shown = ", ".join(
        f"`{one.model[:MODEL_CHARS_SHOWN]}` at {one.endpoint}" for one in route.unpriced[:ENDPOINTS_SHOWN]
    )
    return (
        f"The model `{_shown(envelope)}` has no price, and routing.unpriced_models refuses such models: list what it costs"
        f' under prices, or {{input: "0", output: "0"}} if it is free ({shown})'
    )


def _shown(envelope: Envelope) -> str:
    return envelope.model[:MODEL_CHARS_SHOWN]


class Order:
    """The strategy's order over what is not open; then the fallbacks; rate-limited ones last, since they may have let go."""

    name, priority, timeout_ms = "order", 200, 10
    fail: Literal["closed", "open"] = "closed"

    def __init__(self, circuits: Circuits) -> None:
        self._circuits = circuits
        self._turns: dict[str, int] = {}

    def run(self, context: Planning, /) -> Result:
        route, circuits = context.route, self._circuits
        assert route is not None
        primary, fallback = route.primary, route.fallback
        if circuits.open:
            primary, fallback = self._usable(primary, context), self._usable(fallback, context)
        turn = 0 if route.strategy == "failover" else self._next_turn(route.name)
        candidates = STRATEGIES[route.strategy](primary, turn)
        candidates += fallback
        if circuits.cooling:
            now_ms = context.now_ms
            candidates.sort(key=lambda one: circuits.is_cooling(one.endpoint, one.model, now_ms))
        context.candidates = candidates
        return MODIFIED

    def forget(self) -> None:
        """The routes are other ones now."""
        self._turns.clear()

    def _next_turn(self, name: str) -> int:
        turn = self._turns.get(name, 0)
        self._turns[name] = (turn + 1) % TURNS_MAX
        return turn

    def _usable(self, attempts: tuple[Attempt, ...], context: Planning) -> tuple[Attempt, ...]:
        circuits, now_ms = self._circuits, context.now_ms
        usable = tuple(
            one
            for one in attempts
            if circuits.callable(one.endpoint, one.model) or circuits.probeable(one.endpoint, one.model, now_ms)
        )
        context.waiting += [one for one in attempts if one not in usable]
        return usable


class Attempts:
    """The slip: as many attempts as configured, at most one of them a leased probe, which is always the first.

    A half-open one further down is left out: its probe would only run if those before it failed, and would hold the
    lease for nothing. If they fail for good their circuits open, and it becomes the first.
    """

    name, priority, timeout_ms = "attempts", 300, 1_000
    fail: Literal["closed", "open"] = "closed"

    def __init__(self, circuits: Circuits, lease: Lease) -> None:
        self._circuits, self._lease = circuits, lease

    def run(self, context: Planning, /) -> Result | Awaitable[Result]:
        if self._circuits.open and context.candidates and not self._is_closed(context.candidates[0]):
            return self._with_probe(context)
        return self._settle(context)

    async def _with_probe(self, context: Planning) -> Result:
        while context.candidates and not self._is_closed(first := context.candidates[0]):
            if await self._lease(first.endpoint, first.model, context.envelope.id):
                if not self._is_closed(first):
                    context.candidates[0] = replace(first, probe=True)
                break
            context.waiting.append(context.candidates.pop(0))
        return self._settle(context)

    def _settle(self, context: Planning) -> Result:
        candidates, attempts_max = context.candidates, context.tables.config.routing.attempts_max
        if self._circuits.open:
            candidates = [one for one in candidates if one.probe or self._is_closed(one)]
        if not candidates:
            return self._refusal(context)
        context.plan = tuple(candidates[:attempts_max])
        return MODIFIED

    def _is_closed(self, attempt: Attempt) -> bool:
        return self._circuits.callable(attempt.endpoint, attempt.model)

    def _refusal(self, context: Planning) -> Block:
        now_ms = context.now_ms
        waits = [self._circuits.wait_ms(one.endpoint, one.model, now_ms) for one in context.waiting]
        return Block(
            "no_endpoint_available",
            f"every endpoint for the model `{_shown(context.envelope)}` is failing; retry later",
            retry_after_ms=max(min(waits, default=0), 1_000),
        )


class Router:
    """The handler of REQUEST_ROUTE."""

    def __init__(
        self,
        bus: Bus,
        circuits: Circuits,
        lease: Lease,
        *,
        steps: tuple[Step[Planning], ...] = (),
        monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        self._bus, self._monotonic_ms = bus, monotonic_ms
        self._order = Order(circuits)
        built_in: tuple[Step[Planning], ...] = (Resolve(), self._order, Attempts(circuits, lease))
        self.pipeline: Pipeline[Planning] = Pipeline(Ring.ROUTING, (*built_in, *steps))
        self._tables: Tables | None = None

    def use(self, tables: Tables) -> None:
        self._tables = tables
        self._order.forget()

    def __call__(self, envelope: Envelope, answer: Answer) -> Coroutine[Any, Any, None] | None:
        assert self._tables is not None, "use() comes before serving"
        if envelope.api == "probe":
            self._bus.forward(REQUEST_CALL, envelope, provider=self._tables.probe())
            return None
        planning = Planning(envelope, self._tables, self._monotonic_ms)
        result = self.pipeline.start(planning)
        if result is PASS:  # Nearly always, and far cheaper than asking for the type.
            is_as_it_came = planning.envelope is envelope and not (envelope.plan or envelope.step)
            self._send(planning, answer.written if is_as_it_came else b"")
            return None
        if not isinstance(result, Result):
            return self._finish(result, planning)
        self._conclude(result, planning)
        return None

    async def _finish(self, pending: Awaitable[Result], planning: Planning) -> None:
        self._conclude(await pending, planning)

    def _send(self, planning: Planning, written: bytes = b"") -> None:
        """`written`: the envelope as it came, where it lacks nothing but the plan."""
        envelope, plan = planning.envelope, planning.plan
        provider = plan[0].provider
        if written:
            self._bus.forward(REQUEST_CALL, envelope, provider, planned(written, plan))
        else:
            self._bus.forward(REQUEST_CALL, replace(envelope, plan=plan, step=0), provider)

    def _conclude(self, result: Result, planning: Planning) -> None:
        match result:
            case Pass() | Modify():
                self._send(planning)
            case Block():
                metrics.REFUSED.labels(result.code).inc()
                raise GatewayError(
                    result.code, result.message, param=result.param, retry_after_ms=result.retry_after_ms
                )
            case Respond():
                raise GatewayError("server_error", "a routing step cannot answer; it may pass, modify or block")
