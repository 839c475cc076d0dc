"""Gateways of this kind mask chat texts of one country and one language, resolve anybody's placeholders, and stream the masks to their
users. Each way past them, for every kind of value that is known here, in every place where a caller can write (features C, item 14)."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from llmproxy.common.policy import ALLOWED, Policy
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.kinds import KINDS, Kind
from llmproxy.shield.restore import restorer
from llmproxy.shield.restore.whole import Unmasking
from llmproxy.shield.vault import tenant_key

RING = preflight.pipeline(GUARDS)
DRAWN = "aB3dE5fG7hJ9kL1mN0pQ2rS4tU6vW8xY1zA3bC5dE7fG9hJ2kL4m"
CREDENTIALS = {
    "an AWS key": "AKIA" + "IOSFODNN7EXAMPLE",
    "a GitHub token": "ghp_" + DRAWN[:36],
    "a Slack token": "xoxb-" + "123456789012-123456789012-" + DRAWN[:24],
    "a private key": "-----BEGIN " + "PRIVATE KEY-----\n" + f"{DRAWN}\n" * 3 + "-----END PRIVATE KEY-----",
    "a password": "my password is Winter2024!",
    "a connection string": "postgres://app:s3cr3tPw@db.internal/x",
}
PLACES: dict[str, Callable[[str], Any]] = {
    "multimodal text part": lambda value: {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": value}, {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}
        ]
    },
    "embeddings input": lambda value: {"model": "m", "input": value},
    "one of the embeddings inputs": lambda value: {"model": "m", "input": ["first", value]},
    "tool arguments": lambda value: {
        "messages": [{"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": json.dumps({"a": [value]})}}]}]
    },
    "tool result": lambda value: {"messages": [{"role": "tool", "tool_call_id": "c1", "content": value}]},
    "system of messages": lambda value: {"system": [{"type": "text", "text": value}], "messages": []},
    "instructions of responses": lambda value: {"instructions": value, "input": "x"},
    "tool description": lambda value: {"tools": [{"type": "function", "function": {"name": "f", "description": value}}]},
    "system instruction of Gemini": lambda value: {"systemInstruction": {"parts": [{"text": value}]}, "contents": []},
}  # fmt: skip


def masked(body: Any, tenant: str = "acme") -> tuple[str, Mapping[str, str]]:
    order = Order(body=json.dumps(body).encode(), policy=Policy(), key=tenant_key(b"secret", tenant), max_depth=64)
    examined = examine(order, RING, FakeClock())
    assert isinstance(examined, Examined)
    assert examined.masked is not None
    return examined.masked.decode(), examined.originals


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name not in ALLOWED], ids=lambda kind: kind.name)
def test_c14_a_number_of_any_country_is_masked_in_any_place(kind: Kind, place: str) -> None:
    body, originals = masked(PLACES[place](f"It is {kind.example}, he says."))
    value = max(originals.values(), key=len)
    assert value in kind.example
    assert value not in json.dumps(json.loads(body), ensure_ascii=False)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_c14_a_credential_is_masked_in_any_place(credential: str, place: str) -> None:
    value = CREDENTIALS[credential]
    body, originals = masked(PLACES[place](f"use {value} now"))
    secret = max(originals.values(), key=len)
    assert secret in value or value in secret
    assert secret not in json.dumps(json.loads(body), ensure_ascii=False)


def streamed(texts: list[str], originals: Mapping[str, str]) -> str:
    stream = restorer("chat", Unmasking(originals), stream=True)
    events = [json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() for text in texts]
    out = [one for event in events for one in stream.chunk(event)] + stream.end()
    deltas = [json.loads(one)["choices"][0]["delta"] for one in out if one.startswith(b"{")]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_c14_a_streamed_answer_says_the_original_however_it_is_cut(size: int) -> None:
    _, originals = masked({"messages": [{"role": "user", "content": "write to ada@example.org"}]})
    (ours,) = originals
    said = f"I wrote to {ours}, and to {ours}."
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    assert streamed(pieces, originals) == "I wrote to ada@example.org, and to ada@example.org."


def test_c14_an_echoed_placeholder_of_another_tenant_stays_one_streamed_too() -> None:
    _, foreign = masked({"messages": [{"role": "user", "content": "it is ada@example.org"}]}, tenant="theirs")
    (theirs,) = foreign
    body, originals = masked({"messages": [{"role": "user", "content": f"what is {theirs}? I am bob@example.org"}]})
    assert theirs in body
    assert theirs not in originals
    assert streamed([theirs[:9], theirs[9:]], originals) == theirs
