"""A conversation that the provider keeps, whose requests say one turn each: judged together, and nothing but scores remembered."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conversing import Around, serve
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from llmproxy.common.channels import CONVERSATIONS_BUCKET
from llmproxy.common.envelope import INLINE_BYTES_MAX
from llmproxy.common.errors import Unavailable
from llmproxy.common.frames import Failure
from llmproxy.common.policy import Injection
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.shield import conversations
from llmproxy.shield.continuation import response_id
from llmproxy.shield.conversations import without
from llmproxy.shield.trajectory import SUSPICIOUS, TURNS_MAX, remembered, together

THRESHOLD = 0.6
BLOCK = Injection(mode="block", user=THRESHOLD, trajectory=0.8)
TURNS = st.lists(st.floats(0, 1), max_size=50)


class Told(Around):
    """With a look at what is remembered."""

    broker: FakeBroker
    bucket: Any


def conversing(scenario: Callable[[Told], Awaitable[None]], injection: Injection = BLOCK) -> None:
    async def main() -> None:
        broker = FakeBroker()
        edge, vendor = await fake_bus(broker, "edge"), await fake_bus(broker, "router")
        around = Told(edge)
        around.broker, around.bucket = broker, await edge.wire.bucket(CONVERSATIONS_BUCKET)
        await around.serve(vendor)
        shields = [await fake_bus(broker, "shield", f"shield-{number}") for number in range(2)]
        for shield in shields:
            await serve(shield, injection)
        await scenario(around)
        for bus in (edge, vendor, *shields):
            await bus.drain(0.1)

    asyncio.run(main())


# -- the law


@given(TURNS)
def test_what_is_remembered_decides_as_all_of_it_would(turns: list[float]) -> None:
    for last in (0.0, 0.4, 0.9):
        whole, kept = together([*turns, last], THRESHOLD), together([*remembered(turns, THRESHOLD), last], THRESHOLD)
        assert (whole is None) == (kept is None)
        assert whole is None or kept is None or abs(whole.probability - kept.probability) < 1e-9


@given(TURNS)
def test_it_is_bounded_and_nothing_where_nothing_was_suspicious(turns: list[float]) -> None:
    kept = remembered(turns, THRESHOLD)
    assert len(kept) <= TURNS_MAX
    assert bool(kept) == any(turn >= SUSPICIOUS * THRESHOLD for turn in turns[-TURNS_MAX:])


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (b'{"id": "resp_1", "output": []}', "resp_1"),
        (b'{"type": "response.created", "response": {"id": "resp_2"}}', "resp_2"),
        (b'{"type": "response.output_text.delta", "item_id": "x"}', ""),
        (b'{"id": 7}', ""),
        (b"[1]", ""),
        (b"{", ""),
    ],
)
def test_the_id_of_an_answer_is_found_where_the_api_has_it(event: bytes, found: str) -> None:
    assert response_id(event) == found


# -- conversations


@pytest.mark.parametrize("stream", [False, True])
def test_three_turns_in_three_requests_are_one_attack(stream: bool) -> None:
    async def scenario(around: Told) -> None:
        first = await around.ask("p=0.55 one", stream=stream)
        second = await around.ask("p=0.55 two", stream=stream, previous_response_id=first)
        assert await around.ask("p=0.55 three", stream=stream, previous_response_id=second) == "content_blocked"
        assert len(around.routed) == 2

    conversing(scenario)


@pytest.mark.parametrize("name", ["conv_1", {"id": "conv_1"}])
def test_a_conversation_with_a_name_of_its_own_is_one_too(name: Any) -> None:
    async def scenario(around: Told) -> None:
        for _ in range(2):
            assert (await around.ask("p=0.55", conversation=name)).startswith("resp_")
        assert await around.ask("p=0.55", conversation=name) == "content_blocked"
        assert (await around.ask("p=0.55", conversation="conv_2")).startswith("resp_")

    conversing(scenario)


def test_harmless_turns_between_them_make_the_earlier_ones_count_less_and_are_never_refused() -> None:
    async def scenario(around: Told) -> None:
        last = await around.ask("p=0.55")
        last = await around.ask("p=0.55", previous_response_id=last)
        for _ in range(6):
            last = await around.ask("hello", previous_response_id=last)
            assert last.startswith("resp_")
        assert (await around.ask("p=0.55", previous_response_id=last)).startswith("resp_")

    conversing(scenario)


def test_another_branch_of_the_conversation_has_only_its_own_turns() -> None:
    async def scenario(around: Told) -> None:
        root = await around.ask("p=0.55")
        for _ in range(4):
            assert (await around.ask("p=0.55", previous_response_id=root)).startswith("resp_")

    conversing(scenario)


def test_another_tenant_neither_reads_nor_poisons_what_is_remembered_under_an_id() -> None:
    async def scenario(around: Told) -> None:
        for tenant in ("acme", "acme", "evil", "evil"):
            assert (await around.ask("p=0.55", tenant=tenant, conversation="conv_1")).startswith("resp_")
        assert await around.ask("p=0.55", tenant="acme", conversation="conv_1") == "content_blocked"

    conversing(scenario)


def test_what_is_remembered_is_numbers_under_a_hash_and_nothing_of_what_was_not_suspicious() -> None:
    async def scenario(around: Told) -> None:
        await around.ask("hello there")
        await around.ask("hello there", conversation="conv_1")
        assert await around.bucket.keys() == []
        answered = await around.ask("p=0.55 my words", conversation="conv_1")
        names = await around.bucket.keys()
        assert len(names) == 2
        for name in names:
            assert re.fullmatch(r"[0-9a-f]{32}", name)
            assert answered not in name
            assert (await around.bucket.get(name))[0] == b"[550]"

    conversing(scenario)


def test_an_honest_request_without_an_id_waits_for_nothing_and_nobody_reads_its_answer() -> None:
    async def scenario(around: Told) -> None:
        await around.ask("hello there")
        assert around.routed[0].reply_to == around.edge.address

    conversing(scenario)


def test_a_refused_turn_is_no_part_of_the_conversation_and_something_harmless_goes_on() -> None:
    async def scenario(around: Told) -> None:
        for _ in range(2):
            await around.ask("p=0.55", conversation="conv_1")
        assert await around.ask("p=0.55", conversation="conv_1") == "content_blocked"
        assert (await around.ask("hello", conversation="conv_1")).startswith("resp_")

    conversing(scenario)


@pytest.mark.parametrize("injection", [structs.replace(BLOCK, mode="disabled"), structs.replace(BLOCK, trajectory=1.0)])
def test_where_it_is_switched_off_nothing_is_remembered(injection: Injection) -> None:
    async def scenario(around: Told) -> None:
        for _ in range(4):
            assert (await around.ask("p=0.55", conversation="conv_1")).startswith("resp_")
        assert await around.bucket.keys() == []

    conversing(scenario, injection)


@pytest.mark.parametrize(
    ("mode", "kind"), [("flag", "injection.trajectory"), ("shadow", "injection.trajectory.shadow")]
)
def test_where_the_policy_only_wants_to_know_it_is_recorded(mode: Any, kind: str) -> None:
    async def scenario(around: Told) -> None:
        for _ in range(3):
            assert (await around.ask("p=0.55", conversation="conv_1")).startswith("resp_")
        assert around.routed[1].findings == {}
        assert around.routed[2].findings == {kind: 3}
        explained = around.routed[2].explained
        assert explained is not None
        assert [(one.guard, one.path) for one in explained.findings] == [("injection.trajectory", "input")]

    conversing(scenario, structs.replace(BLOCK, mode=mode))


def test_turns_without_a_users_word_are_no_turns() -> None:
    """An agent that only hands back what its tools gave."""

    async def scenario(around: Told) -> None:
        result = [{"type": "function_call_output", "call_id": "c", "output": "p=0.2 done"}]
        for _ in range(2):
            await around.ask("p=0.55", conversation="conv_1")
            for _ in range(5):
                assert (await around.ask(result, conversation="conv_1")).startswith("resp_")
        assert await around.ask("p=0.55", conversation="conv_1") == "content_blocked"

    conversing(scenario)


def test_a_large_request_and_a_large_answer_are_turns_like_any_other() -> None:
    async def scenario(around: Told) -> None:
        around.padding = "x" * INLINE_BYTES_MAX
        first = await around.ask("p=0.55 " + "long text " * 6_000)
        second = await around.ask("p=0.55", previous_response_id=first)
        assert await around.ask("p=0.55", previous_response_id=second) == "content_blocked"

    conversing(scenario)


def test_turns_that_come_at_the_same_moment_are_judged_one_behind_the_other() -> None:
    async def scenario(around: Told) -> None:
        asked = [around.ask(f"p=0.55 {turn}", conversation="conv_1") for turn in range(8)]
        codes = await asyncio.gather(*asked)
        assert sorted(codes) == ["content_blocked"] * 6 + ["resp_1", "resp_2"]
        assert await around.ask("p=0.55", conversation="conv_1") == "content_blocked"

    conversing(scenario)


def test_a_turn_that_the_vendor_has_not_taken_is_no_part_of_the_conversation() -> None:
    async def scenario(around: Told) -> None:
        await around.ask("p=0.55", conversation="conv_1")
        around.failure = Failure(code="provider_error", message="the vendor is not well")
        for _ in range(4):
            assert await around.ask("p=0.55", conversation="conv_1") == "provider_error"
        around.failure = None
        assert (await around.ask("p=0.55", conversation="conv_1")).startswith("resp_")
        assert await around.ask("p=0.55", conversation="conv_1") == "content_blocked"

    conversing(scenario)


def test_who_names_both_an_answer_and_a_conversation_has_the_turns_of_both_behind_them() -> None:
    async def scenario(around: Told) -> None:
        last = await around.ask("p=0.55")
        await around.ask("p=0.55", conversation="conv_1")
        both = {"previous_response_id": last, "conversation": "conv_1"}
        assert await around.ask("p=0.55", **both) == "content_blocked"

    conversing(scenario)


def test_what_is_taken_back_are_these_turns_and_nobody_elses() -> None:
    assert without((0.55, 0.4, 0.55), (0.55,)) == (0.55, 0.4)
    assert without((0.55, 0.4), (0.4, 0.0)) == (0.55,)


# -- when it cannot be told


class Gone:
    """A bucket that cannot be asked, or does not answer."""

    def __init__(self, *, is_late: bool) -> None:
        self._is_late = is_late

    async def _fail(self, *_: Any) -> Any:
        if self._is_late:
            await asyncio.Event().wait()
        raise Unavailable("stage_unavailable", "JetStream does not answer")

    put = update = _fail

    async def get(self, key: str) -> Any:
        return await self._fail(key)


class Full(Gone):
    """It answers, and takes nothing."""

    def __init__(self) -> None:
        super().__init__(is_late=False)

    async def get(self, key: str) -> None:
        return None


@pytest.mark.parametrize("is_late", [False, True])
def test_a_suspicious_turn_is_refused_when_the_others_cannot_be_recalled_and_a_harmless_one_is_not(
    is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "TIMEOUT_S", 0.01)

    async def scenario(around: Told) -> None:
        around.broker.buckets[CONVERSATIONS_BUCKET] = Gone(is_late=is_late)  # type: ignore[assignment]
        assert await around.ask("p=0.55", conversation="conv_1") == "guard_unavailable"
        assert (await around.ask("hello", conversation="conv_1")).startswith("resp_")
        assert (await around.ask("p=0.55")).startswith("resp_")  # It goes on from nothing; that it is lost is counted.

    conversing(scenario)


def test_a_suspicious_turn_that_others_could_not_find_behind_them_is_refused() -> None:
    async def scenario(around: Told) -> None:
        around.broker.buckets[CONVERSATIONS_BUCKET] = Full()  # type: ignore[assignment]
        assert await around.ask("p=0.55", conversation="conv_1") == "guard_unavailable"
        assert (await around.ask("hello", conversation="conv_1")).startswith("resp_")

    conversing(scenario)


def test_what_is_there_and_is_no_list_of_numbers_cannot_be_told_either() -> None:
    async def scenario(around: Told) -> None:
        await around.ask("p=0.55", conversation="conv_1")
        for name in await around.bucket.keys():
            await around.bucket.put(name, b'["p"]')
        assert await around.ask("p=0.55", conversation="conv_1") == "guard_unavailable"

    conversing(scenario)
