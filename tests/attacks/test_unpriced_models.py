"""A model that nobody has priced: whatever way it is asked for, it is told in the record, or not called at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from patience import PATIENCE_S
from unit.edge.edge_examples import MESSAGES
from unit.edge.edge_gateway import WHOLE, Gateway, chunk, gateway
from unit.edge.test_edge_sdks import TYPES, anthropic_of, asking, openai_of, status_of

from llmproxy.common import money
from llmproxy.common.bus import Answer
from llmproxy.common.channels import REQUEST_CALL, REQUEST_INSPECT, REQUEST_ROUTE
from llmproxy.common.config import Config, Endpoint, Group, Routing, Target
from llmproxy.common.envelope import Attempt, Envelope
from llmproxy.common.frames import Data, End, Failure, Head, Usage
from llmproxy.common.money import ListedPrice
from llmproxy.common.prices import shipped
from llmproxy.common.testing import fake_bus
from llmproxy.edge import metrics
from llmproxy.router.circuits import Circuits
from llmproxy.router.route import Router
from llmproxy.router.tables import Tables

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # Inside Google's package.
USED = Usage(input=1_000, output=100)
LISTED = shipped()
ALLOWING = Config(
    endpoints={
        "vendor": Endpoint(provider="openai", models=("gpt-4o", "new", "newer", "text-embedding-3-small")),
        "open": Endpoint(provider="openrouter", models=("theirs",)),
        "home": Endpoint(provider="ollama", models=("mine",)),
    },
    groups={"fast": Group(targets=(Target(endpoint="vendor", model="new"),))},
    fallbacks={"gpt-4o": (Target(endpoint="vendor", model="newer"),)},
)
REFUSING = replace(ALLOWING, routing=Routing(unpriced_models="refuse"))
Scenario = Callable[["Standing"], Awaitable[None]]


class Standing:
    """The real edge and router on a fake bus, and a worker that says what it was asked and charges what it was told to."""

    def __init__(self, edge: Gateway, router: Router) -> None:
        self.edge, self.router = edge, router
        self.called: list[Attempt] = []
        self.failing: set[str] = set()  # Models.
        self.breaks = False  # Each answer, behind its first words.
        self.usage = USED

    def work(self, envelope: Envelope, answer: Answer) -> None:
        for attempt in envelope.plan[envelope.step :]:
            self.called.append(attempt)
            if attempt.model not in self.failing:
                break
        else:
            answer.send(Failure(code="provider_error", message="it is down", stage="provider-workers"))
            return
        head = Head(
            endpoint=attempt.endpoint,
            provider=attempt.provider,
            model=attempt.model,
            price=attempt.price,
            content_type="",
        )
        if self.breaks:
            answer.send(head, chunk("a"))
            answer.send(Failure(code="provider_stream_broken", message="it broke off", usage=self.usage))
            return
        data = [chunk("a"), chunk("b")] if envelope.stream else [Data(msgspec.Raw(WHOLE))]
        answer.send(head, *data, End(usage=self.usage, cost=money.cost(self.usage, attempt.price)))

    def apply(self, config: Config) -> None:
        """As a configuration reload does."""
        self.edge.configure(config)
        self.router.use(Tables(config, LISTED))

    async def chat(self, model: str, **fields: Any) -> int:
        status, _, _ = await self.edge.ask(json={"model": model, "messages": MESSAGES, **fields})
        return status


@asynccontextmanager
async def standing(config: Config) -> AsyncIterator[Standing]:
    async with gateway(config=config, serve=False) as edge:
        routing, worker = [await fake_bus(edge.broker, name) for name in ("router", "provider-workers")]

        async def lease(endpoint: str, model: str, request_id: str) -> bool:
            return False

        router = Router(routing, Circuits(config.routing.breaker), lease)
        router.use(Tables(config, LISTED))
        it = Standing(edge, router)

        def pass_on(envelope: Envelope, answer: Answer) -> None:
            edge.stage.forward(REQUEST_ROUTE, envelope)

        await edge.stage.serve(REQUEST_INSPECT, pass_on, max_in_flight=500)
        await routing.serve(REQUEST_ROUTE, router, max_in_flight=500)
        for provider in ("openai", "openrouter", "ollama"):
            await worker.serve(REQUEST_CALL, it.work, max_in_flight=500, provider=provider)
        try:
            yield it
        finally:
            await routing.drain(0.0)
            await worker.drain(0.0)


def run(config: Config, scenario: Scenario) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE_S), standing(config) as it:
            await scenario(it)

    asyncio.run(bounded())


@pytest.mark.parametrize(
    "api",
    ["chat", "completions", "responses", "embeddings", "images", "speech", "transcriptions", "messages", "gemini"],
)
def test_through_every_api_the_official_package_is_told_why_and_nobody_is_called(api: str) -> None:
    async def scenario(it: Standing) -> None:
        model = "new"
        with pytest.raises(TYPES[403]) as refused:
            await asking(it.edge, model)[api]()
        assert status_of(refused.value) == 403
        for said in ("`new`", "routing.unpriced_models", "prices", 'input: "0"', "vendor"):
            assert said in str(refused.value).replace("\\", "")
        assert it.called == []
        record = it.edge.records[-1]
        assert (record.code, record.verdict, record.cost, record.unpriced) == ("model_not_priced", "refused", 0, False)

    run(REFUSING, scenario)


def test_streams_are_refused_before_they_begin() -> None:
    async def scenario(it: Standing) -> None:
        ours, theirs, messages = openai_of(it.edge), anthropic_of(it.edge), MESSAGES
        begun: list[Callable[[], Awaitable[Any]]] = [
            lambda: ours.chat.completions.create(model="new", messages=messages, stream=True),  # type: ignore[call-overload]
            lambda: ours.responses.create(model="new", input="hello", stream=True),
            lambda: theirs.messages.create(model="new", messages=messages, max_tokens=9, stream=True),  # type: ignore[call-overload]
            asking(it.edge, "new")["gemini-stream"],
        ]
        for begin in begun:
            with pytest.raises(TYPES[403]):
                await begin()
        assert it.called == []

    run(REFUSING, scenario)


def test_a_group_of_unpriced_targets_names_what_has_no_price() -> None:
    async def scenario(it: Standing) -> None:
        with pytest.raises(TYPES[403], match=r"`fast` has no price.*`new` at vendor"):
            await asking(it.edge, "fast")["chat"]()

    run(REFUSING, scenario)


def test_what_has_a_price_what_runs_at_home_and_who_says_what_it_takes_are_called() -> None:
    async def scenario(it: Standing) -> None:
        assert [await it.chat(model) for model in ("gpt-4o", "gpt-4o", "mine", "theirs")] == [200] * 4
        assert await it.chat("gpt-4o", stream=True) == 200
        await openai_of(it.edge).embeddings.with_raw_response.create(model="text-embedding-3-small", input="a")
        costs = [record.cost for record in it.edge.records]
        assert costs == [3_500_000, 3_500_000, 0, 0, 3_500_000, 20_000]

    run(REFUSING, scenario)


def test_an_unpriced_fallback_is_not_tried_when_the_priced_model_fails() -> None:
    async def scenario(it: Standing) -> None:
        it.failing = {"gpt-4o"}
        assert await it.chat("gpt-4o") == 502
        assert [one.model for one in it.called] == ["gpt-4o"]
        it.called.clear()
        it.apply(ALLOWING)
        assert await it.chat("gpt-4o") == 200
        assert [one.model for one in it.called] == ["gpt-4o", "newer"]
        assert [(one.provider_model, one.unpriced) for one in it.edge.records] == [("", False), ("newer", True)]

    run(REFUSING, scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_where_it_is_called_the_record_and_a_metric_say_that_its_cost_is_not_known(stream: bool) -> None:
    async def scenario(it: Standing) -> None:
        counted = metrics.UNPRICED.labels("vendor").value
        assert await it.chat("new", stream=stream) == 200
        assert await it.chat("gpt-4o", stream=stream) == 200
        assert await it.chat("mine", stream=stream) == 200
        assert [(one.cost, one.unpriced) for one in it.edge.records] == [(0, True), (3_500_000, False), (0, False)]
        assert metrics.UNPRICED.labels("vendor").value == counted + 1

    run(ALLOWING, scenario)


def test_of_an_answer_that_breaks_off_the_record_says_it_too() -> None:
    async def scenario(it: Standing) -> None:
        it.breaks = True
        await it.chat("new", stream=True)
        await it.chat("mine", stream=True)
        assert [(one.verdict, one.output_tokens, one.unpriced) for one in it.edge.records] == [
            ("failed", 100, True),
            ("failed", 100, False),
        ]

    run(ALLOWING, scenario)


@pytest.mark.parametrize(("charged", "unpriced"), [(None, True), (0, False), (7, False)])
def test_a_charge_that_the_provider_names_is_a_price(charged: int | None, unpriced: bool) -> None:
    async def scenario(it: Standing) -> None:
        it.usage = Usage(input=10, charged=charged)
        assert await it.chat("theirs") == 200
        record = it.edge.records[-1]
        assert (record.cost, record.unpriced) == (charged or 0, unpriced)

    run(ALLOWING, scenario)


def test_counting_tokens_costs_nothing_whatever_the_model() -> None:
    async def scenario(it: Standing) -> None:
        it.apply(REFUSING)
        status, _, _ = await it.edge.ask("/v1/messages/count_tokens", json={"model": "new", "messages": MESSAGES})
        assert status == 200
        assert [(one.api, one.unpriced) for one in it.edge.records] == [("count_tokens", False)]

    run(ALLOWING, scenario)


def test_a_price_that_a_reload_adds_holds_from_then_on_and_no_request_falls_between() -> None:
    priced = replace(REFUSING, prices={"new": ListedPrice(input="1", output="2")})

    async def scenario(it: Standing) -> None:
        statuses: list[int] = []

        async def ask_on() -> None:
            for _ in range(20):
                statuses.append(await it.chat("new"))

        asking_on = [asyncio.create_task(ask_on()) for _ in range(8)]
        while len(statuses) < 40:
            await asyncio.sleep(0)
        assert set(statuses) == {403}
        assert it.called == []
        it.apply(priced)
        await asyncio.gather(*asking_on)
        assert set(statuses) == {403, 200}
        answered = [one for one in it.edge.records if one.verdict == "answered"]
        assert len(answered) == statuses.count(200) == len(it.called)
        assert {(one.cost, one.unpriced) for one in answered} == {(1_200_000, False)}
        it.apply(REFUSING)
        assert await it.chat("new") == 403

    run(REFUSING, scenario)
