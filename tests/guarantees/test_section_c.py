"""Weaknesses of other gateways, by number, where they are about more than one part of this one (regressions.py has all of them).

| item | test |
|---|---|
| 10 | test_section_c_10_a_principal_with_roles_is_answered_on_every_route_and_its_roles_decide_its_policy |
| 11 | test_section_c_11_every_endpoint_is_called_as_its_own_vendor_wants_it |
| 12 | test_section_c_12_looking_at_a_half_open_circuit_leaves_its_probe_to_the_next_request |
| 13 | test_section_c_13_sixty_malformed_requests_switch_no_guard_off |
| 17 | test_section_c_17_code_reaches_the_provider_to_the_character |
| 19 | test_section_c_19_a_revoked_key_and_a_policy_that_blocks_hold_on_every_route |
| 20 | test_section_c_20_no_field_of_a_body_becomes_a_header_of_the_request_to_the_provider |
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from guarantees.asking import ENDPOINT_OF, HELLO, MODEL_OF, PLACES, path, wire
from guarantees.cells import CALLS
from guarantees.hearing import Said, Wire
from guarantees.standing import MODELS, Standing, standing
from guarantees.trial import MAIL
from patience import PATIENCE_S
from unit.edge.edge_gateway import record_of

from llmproxy.common.config import Breaker
from llmproxy.common.outcomes import Outcome
from llmproxy.edge.routes.table import Route
from llmproxy.router.circuits import Circuits

CHAT = CALLS["/v1/chat/completions"]
CODE = "def f(x):\n\t# why: see //docs\n    if x:  # two  spaces\n        return {\n            'a':   1,  \n        }  // not a comment\n"


def run(scenario: Callable[[Standing], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE_S), standing() as gateway:
            gateway.forget()
            await scenario(gateway)

    asyncio.run(bounded())


async def ask(gateway: Standing, route: Route, text: str, key: str, **fields: Any) -> Said:
    place = PLACES[route.api]["text"][0]
    sent = wire(route, place, text, stream=route.streams, **fields)
    return await gateway.ask(route, path(route, MODEL_OF[route.api]), sent, key)


def test_section_c_10_a_principal_with_roles_is_answered_on_every_route_and_its_roles_decide_its_policy() -> None:
    async def scenario(gateway: Standing) -> None:
        staff, auditor = "sk-staff", "sk-auditor"
        gateway.edge.add_key(staff, roles=("admin", "staff"), principal="ada")
        gateway.edge.add_key(auditor, roles=("staff", "auditor"), principal="eve")
        for name, route in CALLS.items():
            assert (name, (await ask(gateway, route, f"note {MAIL}", staff)).status) == (name, 200)
            assert (name, (await ask(gateway, route, f"note {MAIL}", auditor)).status) == (name, 400)

    run(scenario)


SHOWS = {
    "openai": "authorization",
    "openai-responses": "authorization",
    "anthropic": "x-api-key",
    "google": "x-goog-api-key",
    "vllm": "",
}
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "count_tokens": "/v1/messages/count_tokens",
    "gemini": "/v1beta/models/gemini-3-pro:",
    "embeddings": "/v1/embeddings",
    "moderations": "/v1/moderations",
    "rerank": "/v1/rerank",
    "images": "/v1/images/generations",
    "speech": "/v1/audio/speech",
    "transcriptions": "/v1/audio/transcriptions",
}


def test_section_c_11_every_endpoint_is_called_as_its_own_vendor_wants_it() -> None:
    """Its path, its credential and nobody else's, in the API that was called; and a chat at every one of the vendors."""

    async def scenario(gateway: Standing) -> None:
        for route in CALLS.values():
            gateway.forget()
            assert (await ask(gateway, route, HELLO, gateway.key("default"))).status == 200
            (recorded,) = gateway.upstreams[ENDPOINT_OF[route.api]].requests
            assert recorded.path.startswith(PATHS[route.api])
            shown = {name for name in SHOWS.values() if name and name in recorded.headers}
            assert shown == {SHOWS[ENDPOINT_OF[route.api]]} - {""}
        for endpoint, models in MODELS.items():
            gateway.forget()
            body = {"model": models[0], "messages": [{"role": "user", "content": HELLO}]}
            said = await gateway.ask(CHAT, CHAT.name, Wire(json=json.dumps(body).encode()), gateway.key("default"))
            assert (endpoint, said.status, gateway.receivers) == (endpoint, 200, [endpoint])

    run(scenario)


def test_section_c_12_looking_at_a_half_open_circuit_leaves_its_probe_to_the_next_request() -> None:
    circuits = Circuits(Breaker(failures=1, open_ms=1_000))
    circuits.record(Outcome(id="x", endpoint="a", provider="openai", model="m", ok=False, code="provider_timeout"), 0)
    assert not circuits.callable("a", "m")
    for now_ms in range(1_000, 1_100):
        assert circuits.probeable("a", "m", now_ms)

    async def scenario(gateway: Standing) -> None:
        async def statuses() -> list[int]:
            found = []
            for name in ("/health", "/readyz", "/v1/models", "/version"):
                async with gateway.once.get(
                    gateway.edge.url + name, headers={"Authorization": f"Bearer {gateway.key('default')}"}
                ) as answer:
                    found.append(answer.status)
            return found

        leases: list[str] = []

        async def lease(endpoint: str, model: str, request_id: str) -> bool:
            leases.append(endpoint)
            return True

        attempts = gateway.router.pipeline.steps[-1]
        attempts._lease = lease  # type: ignore[attr-defined]
        gateway.circuits.settings = Breaker(failures=1, open_ms=1)
        for name in ("openai", "openai-spare"):
            failed = Outcome(
                id="x", endpoint=name, provider="openai", model="gpt-4o", ok=False, code="provider_timeout"
            )
            gateway.circuits.record(failed, 0)
        await statuses()
        assert leases == []
        assert (await ask(gateway, CHAT, HELLO, gateway.key("default"))).status == 200
        assert leases == ["openai"]

    run(scenario)


MALFORMED: tuple[Any, ...] = (
    [{"role": "user", "content": "x"}, "bad"],
    [None],
    [[]],
    [{"role": 1}],
    [{"role": "user", "content": {"a": []}}],
    [{"role": "assistant", "tool_calls": "x"}],
)


def test_section_c_13_sixty_malformed_requests_switch_no_guard_off() -> None:
    async def scenario(gateway: Standing) -> None:
        key = gateway.key("default")
        for messages in MALFORMED * 10:
            body = json.dumps({"model": "gpt-4o", "messages": messages}).encode()
            assert (await gateway.ask(CHAT, CHAT.name, Wire(json=body), key)).status < 500
        assert not gateway.preflight.failed
        gateway.forget()
        assert (await ask(gateway, CHAT, f"my ssn is 219-09-9998 and {MAIL}", key)).status == 200
        (received,) = gateway.received
        assert b"219-09-9998" not in received
        assert MAIL.encode() not in received

    run(scenario)


def test_section_c_17_code_reaches_the_provider_to_the_character() -> None:
    async def scenario(gateway: Standing) -> None:
        for route in CALLS.values():
            gateway.forget()
            await ask(gateway, route, CODE, gateway.key("default"))
            (received,) = gateway.received
            assert (CODE if route.takes_form else json.dumps(CODE)).encode() in received, route.name

    run(scenario)


def test_section_c_19_a_revoked_key_and_a_policy_that_blocks_hold_on_every_route() -> None:
    """There is no switch that stops a part: what is stopped is a key, or a kind, and on every route at once."""

    async def scenario(gateway: Standing) -> None:
        key = "sk-revoked"
        record = record_of(key, revoked_at_ms=1)
        gateway.edge.keys.change(record.hash, msgspec.json.encode(record))
        for name, route in CALLS.items():
            assert (name, (await ask(gateway, route, HELLO, key)).status) == (name, 401)
            blocked = await ask(gateway, route, f"note {MAIL}", gateway.key("blocking"))
            assert (name, blocked.status) == (name, 400)
        assert gateway.received == []

    run(scenario)


def test_section_c_20_no_field_of_a_body_becomes_a_header_of_the_request_to_the_provider() -> None:
    smuggled = {"headers": {"X-Smuggled": "1", "Authorization": "Bearer mine"}, "extra_headers": {"X-Smuggled": "1"}}

    async def scenario(gateway: Standing) -> None:
        for name, route in CALLS.items():
            if route.takes_form:
                continue
            gateway.forget()
            for upstream in gateway.upstreams.values():
                upstream.behaviour.strict_fields = False
            await ask(gateway, route, HELLO, gateway.key("default"), **smuggled)
            for upstream in gateway.upstreams.values():
                for recorded in upstream.requests:
                    assert "x-smuggled" not in recorded.headers, name
                    assert "mine" not in recorded.headers.get("authorization", ""), name

    run(scenario)
