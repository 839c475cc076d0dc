"""What the policy does with what is found in a request, and what is told of it."""

import asyncio
import json

import msgspec
from msgspec import Raw, structs
from patience import PATIENCE_S
from unit.shield.shield_gateway import MAIL, Gateway, chat, gateway

from llmproxy.common.config import Config, Snapshot
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.frames import Data, End, Failure
from llmproxy.common.policy import Policy


def test_a_blocked_request_is_refused_by_kind_and_field_and_never_goes_on() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"mail {MAIL}, ssn 219-09-9998"))
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert (failure.code, failure.param) == ("content_blocked", "messages[0].content")
        assert "us_ssn" in failure.message
        assert "219" not in failure.message
        assert failure.findings["us_ssn"] == 1
        assert around.routed.empty()

    gateway(scenario, Policy(kinds={"us_ssn": "block"}))


def test_a_redacted_value_goes_for_good_and_needs_no_way_back() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"mail {MAIL}"))
        routed, _ = await around.route()
        assert json.loads(bytes(routed.body))["messages"][0]["content"] == "mail [EMAIL_REDACTED]"
        assert routed.reply_to == around.edge.address
        assert not around.inspect.sessions

    gateway(scenario, Policy(kinds={"email": "redact"}))


def test_a_flagged_value_passes_and_is_counted() -> None:
    async def scenario(around: Gateway) -> None:
        sent = around.send(chat(f"mail {MAIL}"))
        routed, _ = await around.route()
        why = Explanation(guard="pii", kind="email", action="flag", path="messages[0].content", start=5, end=20)
        assert routed == structs.replace(sent, findings={"email": 1}, explained=Explained((why,)))

    gateway(scenario, Policy(kinds={"email": "flag"}))


def test_an_alert_is_an_event_at_once_and_tells_kinds_alone() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"mail {MAIL}, not 219-09-9998"))
        routed, _ = await around.route()
        assert MAIL.encode() in bytes(routed.body)
        async with asyncio.timeout(PATIENCE_S):
            told = await around.events.get()
        assert (told.id, told.tenant, told.facts) == (routed.id, routed.tenant, {"email": 1})

    gateway(scenario, Policy(kinds={"email": "alert", "us_ssn": "flag"}))


def test_each_request_has_the_policy_of_who_asks() -> None:
    async def scenario(around: Gateway) -> None:
        seen = {}
        for tenant, model in (("acme", "demo"), ("acme", "other"), ("else", "demo")):
            around.send(chat(MAIL), tenant=tenant, model=model, id=f"{tenant}-{model}")
            routed, _ = await around.route()
            seen[routed.id] = MAIL.encode() in bytes(routed.body)
        assert seen == {"acme-demo": True, "acme-other": False, "else-demo": False}

    override = {"when": {"tenants": ["acme"], "models": ["demo"]}, "kinds": {"email": "flag"}}
    gateway(scenario, msgspec.convert({"overrides": [override]}, Policy))


def test_a_refusal_says_why_in_the_frame_and_the_error_says_no_more_than_before() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"mail {MAIL}"))
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert failure.message == "messages[0].content holds what the policy blocks: email; remove it"
        why = Explanation(guard="pii", kind="email", action="block", path="messages[0].content", start=5, end=20)
        assert failure.explained == Explained((why,))

    gateway(scenario, Policy(kinds={"email": "block"}))


def test_a_policy_change_applies_to_the_next_request_and_not_to_the_one_in_flight() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL), id="before")
        routed, answer = await around.route()
        around.config.swap(Snapshot(revision=2, config=Config(policy=Policy(kinds={"email": "allow"}))))
        around.send(chat(MAIL), id="after")
        after, _ = await around.route()
        assert json.loads(bytes(after.body))["messages"][0]["content"] == MAIL
        placeholder = json.loads(bytes(routed.body))["messages"][0]["content"]
        answer.send(Data(Raw(json.dumps({"choices": [{"message": {"content": placeholder}}]}).encode())), End())
        data = await around.frame()
        assert isinstance(data, Data)
        assert json.loads(bytes(data.json))["choices"][0]["message"]["content"] == MAIL

    gateway(scenario)


def test_the_event_of_a_masking_names_kinds_and_counts_only() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"{MAIL} 219-09-9998"), tenant="acme")
        async with asyncio.timeout(PATIENCE_S):
            event = await around.events.get()
        assert event.facts == {"email": 1, "us_ssn": 1}
        assert event.tenant == "acme"

    broker = gateway(scenario)
    for subject, payload in broker.published:
        if "request.inspect" not in subject:
            assert b"219-09-9998" not in payload
