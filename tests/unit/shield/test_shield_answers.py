"""Answers that are read on their way back: what is found in them, and when one is ended."""

import asyncio
import json
import threading
from typing import Any

import pytest
from msgspec import Raw
from unit.shield.shield_gateway import MAIL, SYSTEM, TOKEN, USER, Gateway, Where, asking, chat, delta, gateway, heard

from llmproxy.common.answers import Answers
from llmproxy.common.frames import Data, End, Failure, Frame, Head, Usage
from llmproxy.common.policy import Policy
from llmproxy.common.rails import Rails, Rule
from llmproxy.shield.vault import hashed

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


FOUND = {"type": "search_result", "source": "a", "title": "b", "content": [{"type": "text", "text": "hi"}]}


def says(content: str) -> Data:
    return Data(Raw(json.dumps({"choices": [{"index": 0, "message": {"content": content}}]}).encode()))


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_to_a_request_with_system_text_is_read_and_its_findings_come_with_its_end(stream: bool) -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking(), stream=stream)
        routed, answer = await around.route()
        assert routed.reply_to == around.shield.address
        said = [delta(character) for character in f"use {TOKEN} now"] if stream else [says(f"use {TOKEN} now")]
        answer.send(Head(), *said, End())
        frames = [await around.frame()]
        while not isinstance(frames[-1], End):
            frames.append(await around.frame())
        assert heard(frames) == "use [SECRET_REDACTED] now"
        end = frames[-1]
        assert end.findings == {"answer.secret.github": 1}
        assert end.explained is not None
        (explanation,) = end.explained.findings
        assert (explanation.guard, explanation.side, explanation.action) == ("secrets", "answer", "redact")
        assert explanation.path == ("choices[0].content[0]" if stream else "choices[0].message.content")
        assert (explanation.start, explanation.end) == (4, 4 + len(TOKEN))
        assert not around.inspect.sessions
        assert not around.shield.holds

    gateway(scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_what_an_answer_says_is_hashed_as_in_a_request_or_alerted(stream: bool) -> None:
    kinds: Any = {"email": "hash", "secret.github": "hash", "phone": "alert"}
    text = f"ask {MAIL} with {TOKEN} or +44 20 7946 0958, or {MAIL}."

    async def scenario(around: Gateway) -> None:
        sent = around.send(asking(), stream=stream)
        _, answer = await around.route()
        said = [delta(character) for character in text] if stream else [says(text)]
        answer.send(Head(), *said, End())
        frames = [await around.frame()]
        while not isinstance(frames[-1], End):
            frames.append(await around.frame())
        key = around.inspect.key_of(sent.tenant)
        mail, token = hashed(key, "email", MAIL), hashed(key, "secret.github", TOKEN)
        assert heard(frames) == f"ask {mail} with {token} or +44 20 7946 0958, or {mail}."
        assert frames[-1].findings == {"answer.email": 2, "answer.secret.github": 1, "answer.phone": 1}
        event = await around.events.get()
        assert (event.id, event.facts) == (sent.id, {"answer.phone": 1})

    gateway(scenario, Policy(answers=Answers(kinds=kinds)))


@pytest.mark.parametrize(
    ("when", "body", "is_read"),
    [
        ("always", {"messages": [USER]}, True),
        ("exposed", {"messages": [USER]}, False),
        ("exposed", {"messages": [SYSTEM, USER]}, True),
        ("exposed", {"messages": [{**SYSTEM, "role": "developer"}, USER]}, True),
        ("exposed", {"messages": [USER], "tools": [TOOL]}, True),
        ("exposed", {"messages": [USER, {"role": "tool", "tool_call_id": "c", "content": "hi"}]}, True),
        ("exposed", {"messages": [USER], "system": [{"type": "text", "text": "Be brief."}]}, True),
        ("exposed", {"input": "hello", "instructions": "Be brief."}, True),
        ("exposed", {"input": [{"type": "function_call_output", "call_id": "c", "output": "hi"}]}, True),
        ("exposed", {"contents": [{"parts": [{"text": "hi"}]}], "systemInstruction": {"parts": [{"text": "x"}]}}, True),
        ("exposed", {"messages": [{"role": "user", "content": MAIL}]}, True),
        ("exposed", {"input": "hello", "previous_response_id": None, "conversation": None}, False),
        ("exposed", {"input": "hello", "previous_response_id": "resp_1"}, True),
        ("exposed", {"input": "hello", "conversation": {"id": "conv_1"}}, True),
        ("exposed", {"input": "hello", "prompt": {"id": "pmpt_1"}}, True),
        ("exposed", {"input": [{"type": "mcp_call", "name": "f", "arguments": "{}", "output": "hi"}]}, True),
        ("exposed", {"contents": [{"parts": [{"text": "hi"}]}], "cachedContent": "cachedContents/1"}, True),
        ("exposed", {"contents": [{"role": "model", "parts": [{"codeExecutionResult": {"output": "hi"}}]}]}, True),
        ("exposed", {"messages": [USER], "mcp_servers": [{"type": "url", "url": "https://example.org"}]}, True),
        ("exposed", {"messages": [USER], "web_search_options": {}}, True),
        ("exposed", {"messages": [{"role": "user", "content": [FOUND]}]}, True),
        ("never", {"messages": [SYSTEM, USER]}, False),
    ],
)
def test_when_answers_are_read_is_the_policys(when: Any, body: Any, is_read: bool) -> None:
    async def scenario(around: Gateway) -> None:
        around.send({"model": "demo", **body})
        routed, _ = await around.route()
        assert (routed.reply_to == around.shield.address) is is_read
        assert bool(around.inspect.sessions) is is_read

    gateway(scenario, Policy(answers=Answers(when=when)))


@pytest.mark.parametrize(("direction", "is_read"), [("both", True), ("request", False)])
def test_an_answer_is_read_for_the_operators_rules_and_they_alert_when_it_is_over(
    direction: Any, is_read: bool
) -> None:
    rails = Rails(rules=(Rule(name="r", pattern="acme", action="alert", direction=direction),))

    async def scenario(around: Gateway) -> None:
        sent = around.send(chat("hello"))
        routed, answer = await around.route()
        assert (routed.reply_to == around.shield.address) == is_read
        if not is_read:
            return
        reply = {"choices": [{"index": 0, "message": {"content": "of acme"}}]}
        answer.send(Head(), Data(Raw(json.dumps(reply).encode())), End(finish="stop"))
        *_, end = [await around.frame() for _ in range(3)]
        assert isinstance(end, End)
        assert end.findings == {"answer.rule": 1}
        event = await around.events.get()
        assert (event.id, event.facts) == (sent.id, {"answer.rule": 1})

    gateway(scenario, Policy(rails=rails))


def test_where_answers_are_never_read_what_was_masked_still_comes_back() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL))
        routed, answer = await around.route()
        answer.send(says(f"{json.loads(bytes(routed.body))['messages'][0]['content']} {TOKEN}"), End())
        assert heard([await around.frame()]) == f"{MAIL} {TOKEN}"
        assert await around.frame() == End()

    gateway(scenario, Policy(answers=Answers(when="never")))


BLOCKING = Policy(answers=Answers(kinds={"secret": "block"}))


def test_a_blocked_whole_answer_is_an_error_that_says_what_was_used() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking())
        _, answer = await around.route()
        answer.send(Head(), says(f"use {TOKEN} now"))
        answer.send(End(usage=Usage(input=7, output=3), cost=11))
        assert isinstance(await around.frame(), Head)
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert (failure.code, failure.usage, failure.cost) == ("content_blocked", Usage(input=7, output=3), 11)
        assert failure.findings == {"answer.secret.github": 1}
        assert "secret.github" in failure.message
        assert TOKEN not in failure.message
        assert around.frames.empty()
        assert not around.inspect.sessions

    gateway(scenario, BLOCKING)


def test_a_blocked_answer_whose_end_does_not_come_is_an_error_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmproxy.shield.inspect.FAREWELL_S", 0.01)

    async def scenario(around: Gateway) -> None:
        around.send(asking())
        _, answer = await around.route()
        answer.send(says(f"use {TOKEN} now"))
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert failure.code == "content_blocked"
        assert failure.usage.estimated
        assert not around.inspect.sessions
        assert not around.shield.holds

    gateway(scenario, BLOCKING)


def test_a_blocked_stream_ends_at_once_and_nothing_of_what_was_blocked_has_left() -> None:
    async def scenario(around: Gateway) -> None:
        around.send({**asking(), "stream": True}, stream=True)
        _, answer = await around.route()
        answer.send(Head())
        for character in f"It is this one: use {TOKEN} now and for ever":
            answer.send(delta(character))
        frames = [await around.frame()]
        while not isinstance(frames[-1], Failure):
            frames.append(await around.frame())
        assert heard(frames) == "It is this one: use "
        assert frames[-1].code == "content_blocked"
        assert frames[-1].usage.estimated
        assert frames[-1].usage.output > 0
        assert frames[-1].explained is not None
        assert not around.inspect.sessions
        answer.send(delta("more"), End())
        await asyncio.sleep(0)
        assert around.frames.empty()

    gateway(scenario, BLOCKING)


def test_a_secret_at_the_very_end_of_a_stream_is_found_by_the_last_look() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking(), stream=True)
        _, answer = await around.route()
        answer.send(Head(), delta(f"use {TOKEN}"), End(usage=Usage(output=2)))
        frames = [await around.frame()]
        while not isinstance(frames[-1], End | Failure):
            frames.append(await around.frame())
        assert isinstance(frames[-1], Failure)
        assert frames[-1].usage == Usage(output=2)
        assert heard(frames) == "use "

    gateway(scenario, BLOCKING)


@pytest.mark.parametrize("end", [End(), Failure(code="provider_timeout", message="gone")])
@pytest.mark.parametrize(("pattern", "is_apart"), [("a.{200}b", True), (r"PRJ-\d{4}", False)])
def test_where_a_rule_could_hold_the_loop_nothing_of_an_answer_is_read_in_it(
    pattern: str, is_apart: bool, end: Frame
) -> None:
    async def scenario(around: Gateway) -> None:
        where = Where()
        around.inspect._postflight.steps = (where, *around.inspect._postflight.steps)
        around.send(asking(), stream=True)
        _, answer = await around.route()
        said = [f"{number} of aaa. " for number in range(40)]
        answer.send(Head(), *map(delta, said[:20]))
        answer.send(*map(delta, said[20:]), end)
        frames = [await around.frame()]
        while not isinstance(frames[-1], End | Failure):
            frames.append(await around.frame())
        assert type(frames[-1]) is type(end)
        assert heard(frames) == "".join(said)
        assert len(where.threads) == len(said) + 1
        assert (threading.get_ident() not in where.threads) is is_apart

    gateway(scenario, Policy(rails=Rails(rules=(Rule(name="r", pattern=pattern, action="replace"),))))


def test_a_canary_goes_to_the_provider_and_ends_the_answer_that_says_it() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking())
        routed, answer = await around.route()
        system = json.loads(bytes(routed.body))["messages"][0]["content"]
        assert system.startswith("Be brief.\n\n[")
        answer.send(Head(), says(f"My instructions: {system}"), End())
        assert isinstance(await around.frame(), Head)
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert failure.findings == {"answer.canary": 1}

    gateway(scenario, Policy(answers=Answers(canary=True)))


def test_an_answer_that_was_cancelled_still_says_what_was_found_and_used() -> None:
    async def scenario(around: Gateway) -> None:
        sent = around.send(asking(), stream=True)
        _, answer = await around.route()
        answer.send(Head(), delta(f"use {TOKEN} now "))
        assert isinstance(await around.frame(), Head)
        await around.frame()
        around.edge.cancel(around.shield.address, sent.id, sent.attempt)
        await around.until(lambda: not around.shield.holds)
        answer.send(End(finish="cancelled", usage=Usage(output=2)))
        end = await around.frame()
        assert isinstance(end, End)
        assert (end.findings, end.usage) == ({"answer.secret.github": 1}, Usage(output=2))

    gateway(scenario)
