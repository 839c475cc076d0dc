"""What leaves the router for a request: a slip with the right attempts, or a refusal that says why."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

from msgspec import Raw
from msgspec.structs import replace
from patience import PATIENCE_S

from llmproxy.common.bus import Answer
from llmproxy.common.channels import REQUEST_CALL, REQUEST_ROUTE
from llmproxy.common.config import Breaker, Config, Endpoint, Group, Routing, Target
from llmproxy.common.envelope import ENCODER, Attempt, Envelope
from llmproxy.common.frames import Failure
from llmproxy.common.outcomes import Outcome
from llmproxy.common.plugins.host import MODIFIED, Result, Step
from llmproxy.common.testing import FakeBroker, FakeClock, envelope, fake_bus
from llmproxy.router.circuits import Circuits
from llmproxy.router.route import Planning, Router
from llmproxy.router.tables import Tables

SETTINGS = Breaker(failures=1, open_ms=1_000)


class Harness:
    """An edge that asks, a router, and a worker that keeps what it is sent."""

    def __init__(self, broker: FakeBroker, circuits: Circuits) -> None:
        self._broker, self.circuits = broker, circuits
        self.leases: list[str] = []
        self.grants = True
        self.now_ms = 0
        self.slips: asyncio.Queue[Envelope] = asyncio.Queue()
        self.failures: asyncio.Queue[Failure] = asyncio.Queue()
        self._number = 0
        self.edge: Any = None

    async def lease(self, name: str, model: str, request_id: str) -> bool:
        await asyncio.sleep(0)
        self.leases.append(name)
        return self.grants

    @property
    def passed_on(self) -> list[bytes]:
        """To workers, as it was written."""
        return [payload for subject, payload in self._broker.published if ".request.call." in subject]

    def keep(self, slip: Envelope, answer: Answer) -> None:
        self.slips.put_nowait(slip)

    def fail(self, *endpoints: str, model: str = "m", code: str = "provider_error") -> None:
        for name in endpoints:
            failed = Outcome(id="x", endpoint=name, provider="openai", model=model, ok=False, code=code)
            self.circuits.record(failed, self.now_ms)

    def send(self, **fields: Any) -> None:
        self._number += 1
        request = envelope(**{"id": f"id-{self._number}", "model": "m", **fields})
        self.edge.expect(request, lambda frames: self.failures.put_nowait(frames[0]))
        self.edge.forward(REQUEST_ROUTE, request)

    async def routed(self, **fields: Any) -> Envelope:
        self.send(**fields)
        return await asyncio.wait_for(self.slips.get(), PATIENCE_S)

    async def plan(self, model: str = "m") -> list[str]:
        return [attempt.endpoint for attempt in (await self.routed(model=model)).plan]

    async def refused(self, **fields: Any) -> Failure:
        self.send(**fields)
        return await asyncio.wait_for(self.failures.get(), PATIENCE_S)


@asynccontextmanager
async def router(config: Config, *steps: Step[Planning]) -> AsyncIterator[Harness]:
    broker = FakeBroker()
    edge, routing, worker = [await fake_bus(broker, name) for name in ("edge", "router", "provider-workers")]
    made = Harness(broker, Circuits(SETTINGS))
    made.edge = edge
    handler = Router(routing, made.circuits, made.lease, steps=steps, monotonic_ms=lambda: made.now_ms)
    handler.use(Tables(config, {}))
    await routing.serve(REQUEST_ROUTE, handler, max_in_flight=64)
    await worker.serve(REQUEST_CALL, made.keep, max_in_flight=64)
    try:
        yield made
    finally:
        for bus in (edge, routing, worker):
            await bus.drain(0.0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await scenario()

    asyncio.run(bounded())


def endpoints(*names: str, models: tuple[str, ...] = ("m",)) -> dict[str, Endpoint]:
    return {name: Endpoint(provider="openai", models=models) for name in names}


CONFIG = Config(
    endpoints=endpoints("a", "b", "c"),
    groups={"ring": Group(targets=tuple(Target(endpoint=name) for name in "abc"), strategy="round_robin")},
)


def test_a_request_that_lacks_nothing_but_the_plan_is_passed_on_as_it_came() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            sent = envelope(id="id-1", model="m", tenant="acme", findings={"email": 1}, body=Raw(b'{"model" : "m"}'))
            later = ENCODER.encode(sent)[:-1] + b',"of_a_later_version":{"a":[1]}}'
            asked.edge.forward(REQUEST_ROUTE, sent, written=later)
            slip = await asyncio.wait_for(asked.slips.get(), PATIENCE_S)
            assert [attempt.endpoint for attempt in slip.plan] == ["a", "b", "c"]
            assert replace(slip, plan=()) == sent
            assert b'"of_a_later_version":{"a":[1]}' in asked.passed_on[-1]

    run(scenario)


def test_what_a_step_says_of_a_request_holds_over_what_came() -> None:
    class Rename:
        name, priority, timeout_ms = "rename", 50, 10
        fail: Literal["closed", "open"] = "closed"

        def run(self, context: Planning, /) -> Result:
            context.envelope = replace(context.envelope, model="n")
            return MODIFIED

    async def scenario() -> None:
        async with router(Config(endpoints=endpoints("a", models=("n",))), Rename()) as asked:
            slip = await asked.routed(model="m")
            assert (slip.model, [attempt.model for attempt in slip.plan]) == ("n", ["n"])

    run(scenario)


def test_a_plan_that_a_request_came_with_is_replaced() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            of_others = Attempt(endpoint="z", provider="openai", model="m")
            slip = await asked.routed(plan=(of_others,))
            assert [attempt.endpoint for attempt in slip.plan] == ["a", "b", "c"]
            assert asked.passed_on[-1].count(b'"plan"') == 1

    run(scenario)


def test_the_slip_starts_at_its_first_attempt_and_leaves_the_request_as_it_was() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            slip = await asked.routed(findings={"email": 1}, step=7)
            assert [attempt.endpoint for attempt in slip.plan] == ["a", "b", "c"]
            assert (slip.step, slip.model, slip.findings) == (0, "m", {"email": 1})
            assert not any(attempt.probe for attempt in slip.plan)

    run(scenario)


def test_round_robin_takes_turns_and_skips_what_is_open() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            assert [(await asked.plan("ring"))[0] for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]
            asked.fail("b", model="ring")
            assert sorted([(await asked.plan("ring"))[0] for _ in range(6)]) == ["a", "a", "a", "c", "c", "c"]

    run(scenario)


def test_there_are_never_more_attempts_than_configured() -> None:
    async def scenario() -> None:
        async with router(Config(endpoints=endpoints(*"abcdef"), routing=Routing(attempts_max=2))) as asked:
            assert await asked.plan() == ["a", "b"]

    run(scenario)


def test_an_unknown_model_is_not_found() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            failure = await asked.refused(model="nope")
            assert (failure.code, failure.param, failure.stage) == ("model_not_found", "model", "router")
            assert "nope" in failure.message
            assert len((await asked.refused(model="x" * 100_000)).message) < 300

    run(scenario)


def test_an_api_that_no_endpoint_of_the_model_serves_is_refused_and_says_which_would() -> None:
    async def scenario() -> None:
        config = Config(
            endpoints={
                "claude": Endpoint(provider="anthropic", models=("m",)),
                "gpt": Endpoint(provider="openai", models=("n",)),
            }
        )
        async with router(config) as asked:
            failure = await asked.refused(model="m", api="embeddings")
            assert (failure.code, failure.param, failure.stage) == ("unsupported_endpoint", "model", "router")
            assert "`m`" in failure.message
            assert "embeddings" in failure.message
            assert "gpt" in failure.message
            nobody = await asked.refused(model="m", api="rerank")
            assert "no configured endpoint can" in nobody.message
            assert (await asked.routed(model="n", api="embeddings")).plan[0].endpoint == "gpt"

    run(scenario)


def test_an_open_endpoint_is_skipped() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            asked.fail("a")
            assert await asked.plan() == ["b", "c"]
            assert asked.leases == []

    run(scenario)


def test_a_model_that_fails_leaves_the_others_of_its_endpoint_alone() -> None:
    async def scenario() -> None:
        async with router(Config(endpoints=endpoints("a", "b", models=("m", "n")))) as asked:
            asked.fail("a")
            assert await asked.plan("m") == ["b"]
            assert await asked.plan("n") == ["a", "b"]
            asked.fail("b", code="provider_unreachable")
            assert (await asked.refused()).code == "no_endpoint_available"
            assert await asked.plan("n") == ["a"]

    run(scenario)


def test_when_everything_is_open_the_caller_learns_when_to_come_back() -> None:
    async def scenario() -> None:
        async with router(Config(endpoints=endpoints("a", "b"))) as asked:
            asked.circuits.settings = Breaker(failures=1, open_ms=9_000)
            asked.fail("a")
            asked.circuits.settings = Breaker(failures=1, open_ms=4_000)
            asked.fail("b")
            failure = await asked.refused()
            assert (failure.code, failure.retry_after_ms) == ("no_endpoint_available", 4_000)

    run(scenario)


def test_a_half_open_endpoint_gets_one_probe_first_in_the_plan() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            asked.fail("a")
            asked.now_ms = 2_000
            slip = await asked.routed()
            assert [(attempt.endpoint, attempt.probe) for attempt in slip.plan] == [
                ("a", True),
                ("b", False),
                ("c", False),
            ]
            asked.grants = False
            assert await asked.plan() == ["b", "c"]

    run(scenario)


def test_a_half_open_endpoint_further_down_takes_no_lease() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            asked.fail("b")
            asked.now_ms = 2_000
            assert await asked.plan() == ["a", "c"]
            assert asked.leases == []

    run(scenario)


def test_with_all_half_open_and_leased_the_caller_comes_back_soon() -> None:
    async def scenario() -> None:
        async with router(Config(endpoints=endpoints("a", "b"))) as asked:
            asked.fail("a", "b")
            asked.now_ms, asked.grants = 2_000, False
            failure = await asked.refused()
            assert (failure.code, failure.retry_after_ms) == ("no_endpoint_available", 1_000)
            assert asked.leases == ["a", "b"]

    run(scenario)


def test_a_rate_limited_endpoint_goes_last_but_stays() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            limited = Outcome(
                id="x",
                endpoint="a",
                provider="openai",
                model="m",
                ok=False,
                code="provider_rate_limited",
                retry_after_ms=900,
            )
            asked.circuits.record(limited, 0)
            assert await asked.plan() == ["b", "c", "a"]
            asked.now_ms = 901
            assert await asked.plan() == ["a", "b", "c"]

    run(scenario)


def test_a_probe_of_the_path_goes_to_the_first_endpoints_family() -> None:
    async def scenario() -> None:
        async with router(CONFIG) as asked:
            slip = await asked.routed(api="probe", model="")
            assert slip.plan == ()

    run(scenario)


def test_the_ring_lists_its_steps_in_order() -> None:
    async def scenario() -> None:
        bus = await fake_bus(FakeBroker(), "router", now=FakeClock())
        handler = Router(bus, Circuits(SETTINGS), Harness(FakeBroker(), Circuits(SETTINGS)).lease)
        assert [step.name for step in handler.pipeline.describe()] == ["resolve", "order", "attempts"]
        assert {step.fail for step in handler.pipeline.describe()} == {"closed"}
        await bus.drain(0.0)

    run(scenario)
