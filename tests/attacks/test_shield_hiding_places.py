"""Every place and every spelling in which a value could slip past the shield. Nothing of it may reach the next stage."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from llmproxy.common.policy import Policy
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import Whole
from llmproxy.shield.vault import tenant_key, unmask

RING = preflight.pipeline(GUARDS)
MAIL, CARD, KEY = "ada@example.com", "4111 1111 1111 1111", "AKIA" + "IOSFODNN7EXAMPLE"
VALUES = (MAIL, CARD, KEY)


def inspect(body: Any, tenant: str = "acme", **policy: Any) -> Examined | Refused:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    order = Order(body=raw, policy=Policy(**policy), key=tenant_key(b"secret", tenant), max_depth=64)
    return examine(order, RING, time.monotonic)


def masked(body: Any, **options: Any) -> str:
    examined = inspect(body, **options)
    assert isinstance(examined, Examined)
    assert examined.masked is not None
    json.loads(examined.masked)
    return examined.masked.decode()


def message(role: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, **fields}]}


PLACES: dict[str, Callable[[str], Any]] = {
    **{
        role: (lambda value, role=role: message(role, content=f"it is {value}."))
        for role in ("system", "developer", "user", "assistant", "tool", "function", "no_such_role")
    },
    "no role": lambda value: {"messages": [{"content": value}]},
    "content parts": lambda value: message("user", content=[{"type": "text", "text": value}]),
    "unknown part": lambda value: message("user", content=[{"type": "new", "new": {"caption": value}}]),
    "image url": lambda value: message("user", content=[{"image_url": {"url": f"https://x/?q={value}"}}]),
    "not an image": lambda value: message("user", content=[{"image_url": {"url": f"data:image/png;base64, {value}"}}]),
    "file name": lambda value: message("user", content=[{"file": {"filename": f"{value}.pdf"}}]),
    "refusal": lambda value: message("assistant", refusal=value),
    "name": lambda value: message("user", content="x", name=value),
    "arguments": lambda value: message("assistant", tool_calls=[{"function": {"arguments": json.dumps({"a": value})}}]),
    "arguments key": lambda value: message("assistant", tool_calls=[{"function": {"arguments": json.dumps({value: 1})}}]),
    "arguments, not JSON": lambda value: message("assistant", tool_calls=[{"function": {"arguments": f"{{{value}"}}]),
    "arguments, double key": lambda value: message(
        "assistant", tool_calls=[{"function": {"arguments": f'{{"a":"{value}","a":"x"}}'}}]
    ),
    "legacy function call": lambda value: message("assistant", function_call={"arguments": json.dumps({"a": [value]})}),
    "custom tool": lambda value: message("assistant", tool_calls=[{"custom": {"input": value}}]),
    "tool description": lambda value: {"tools": [{"function": {"description": value}}]},
    "tool enum": lambda value: {"tools": [{"function": {"parameters": {"properties": {"p": {"enum": [value]}}}}}]},
    "tool property name": lambda value: {"tools": [{"function": {"parameters": {"properties": {value: {}}}}}]},
    "response format": lambda value: {"response_format": {"json_schema": {"schema": {"title": value}}}},
    "prediction": lambda value: {"prediction": {"type": "content", "content": [{"type": "text", "text": value}]}},
    "stop": lambda value: {"stop": ["x", value]},
    "user": lambda value: {"user": value},
    "metadata": lambda value: {"metadata": {"who": value}},
    "metadata key": lambda value: {"metadata": {value: "x"}},
    "web search options": lambda value: {"web_search_options": {"user_location": {"approximate": {"city": value}}}},
    "unknown field": lambda value: {"brand_new": [[{"deep": value}]]},
    "other case": lambda value: message("user", content="fine", Content=value, CONTENT="fine"),
    "JSON in a string": lambda value: message("tool", content=json.dumps({"rows": [{"who": value}]})),
    "JSON in JSON in a string": lambda value: message("tool", content=json.dumps({"row": json.dumps({"who": value})})),
    "behind a megabyte": lambda value: message("user", content="word " * 200_000 + value),
    "second message": lambda value: {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": value}]},
}  # fmt: skip

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda value: value,
    "zero width": lambda value: "\u200b".join(value),
    "soft hyphens": lambda value: "\u00ad".join(value),
    "full width": lambda value: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in value),
    "no-break and thin spaces": lambda value: value.replace(" ", "\u202f"),
    "escapes": lambda value: "".join(f"\\u{ord(c):04x}" for c in value),
    "double escapes": lambda value: "".join(f"\\\\u{ord(c):04X}" for c in value),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_value_is_masked_wherever_it_stands(place: str) -> None:
    for value in VALUES:
        assert value not in masked(PLACES[place](value)).replace("\\", "")


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("place", ["user", "tool", "arguments", "arguments, not JSON", "metadata", "unknown field"])
def test_a_value_is_masked_however_it_is_spelt(place: str, spelling: str) -> None:
    for value in VALUES:
        spelt = SPELLINGS[spelling](value)
        tree = json.loads(masked(PLACES[place](spelt)))
        assert spelt not in json.dumps(tree, ensure_ascii=False)
        assert json.dumps(spelt)[1:-1] not in json.dumps(tree)


@pytest.mark.parametrize("value", VALUES)
def test_a_json_escape_of_any_character_hides_nothing(value: str) -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in value)
    body = f'{{"messages":[{{"role":"user","content":"{escaped}"}}],"{escaped}":1}}'.encode()
    tree = json.loads(masked(body))
    assert value not in json.dumps(tree)


def test_a_card_written_as_a_number_is_masked() -> None:
    for body in (
        b'{"metadata":{"card":4111111111111111}}',
        b'{"metadata":{"card":4.111111111111111e15}}',
        json.dumps(
            message("assistant", tool_calls=[{"function": {"arguments": '{"card":4111111111111111}'}}])
        ).encode(),
    ):
        assert "4111111111111111" not in masked(body)
        assert "CREDIT_CARD" in masked(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"content":"ada@example.com","content":"ok"}]}',
        b'{"messages":[{"content":"ada@example.com","c\\u006fntent":"ok"}]}',
        b'{"messages":[{"x\\\\":1,"content":"ada@example.com","content":"ok"}]}',
        b'{"messages":[{"content" : "ada@example.com","content":"ok"}]}',
        b'{"messages":[],"messages":[{"content":"ada@example.com"}]}',
    ],
)
def test_a_value_under_a_key_that_is_there_twice_is_refused(body: bytes) -> None:
    refused = inspect(body)
    assert isinstance(refused, Refused)
    assert refused.code == "duplicate_key"
    assert MAIL not in refused.message


def test_the_masked_body_keeps_order_unknown_fields_numbers_and_spaces() -> None:
    body = '{ "z": 1.50, "b" :[1E2, "ada@example.com" ,"\\u00e9 ada@example.com \\/"],"a":{"k":-0.0} }'
    parts = masked(body.encode()).split("[EMAIL_")
    assert parts[0] == '{ "z": 1.50, "b" :[1E2, "'
    assert parts[1][17:] == '" ,"\\u00e9 '
    assert parts[2][17:] == ' \\/"],"a":{"k":-0.0} }'


def test_the_same_conversation_masks_to_the_same_bytes_so_that_prompt_caches_hit() -> None:
    body = message("user", content=f"{MAIL} {KEY}")
    assert masked(body) == masked(body)


# -- placeholders


def placeholder(value: str, **options: Any) -> str:
    return str(json.loads(masked(message("user", content=value), **options))["messages"][0]["content"])


def test_a_placeholder_that_the_caller_types_is_never_resolved() -> None:
    typed = placeholder(MAIL)
    examined = inspect(message("user", content=f"what is {typed}?"))
    assert isinstance(examined, Examined)
    assert examined.masked is None
    assert examined.originals == {}


@pytest.mark.parametrize("place", ["user", "arguments", "metadata", "metadata key", "arguments, not JSON"])
def test_a_typed_placeholder_next_to_its_own_value_comes_back_as_it_was_typed(place: str) -> None:
    typed = placeholder(MAIL)
    tree = PLACES[place](typed) | {"prediction": {"content": MAIL}}
    examined = inspect(tree)
    assert isinstance(examined, Examined)
    assert typed not in examined.originals
    (ours,) = examined.originals
    answer = json.dumps({"choices": [{"message": {"content": f"{typed} {ours}"}}]}).encode()
    (restored,) = Whole(examined.originals).chunk(answer)
    assert json.loads(restored)["choices"][0]["message"]["content"] == f"{typed} {MAIL}"


def test_a_typed_placeholder_hidden_by_escapes_inside_arguments_is_not_taken_for_ours() -> None:
    typed = placeholder(MAIL)
    escaped = "".join(f"\\u{ord(c):04x}" for c in typed)
    tree = message("assistant", content=MAIL, tool_calls=[{"function": {"arguments": f'{{"a":"{escaped}"}}'}}])
    examined = inspect(tree)
    assert isinstance(examined, Examined)
    assert typed not in examined.originals


def test_another_tenants_placeholder_is_never_resolved() -> None:
    theirs = placeholder(MAIL, tenant="globex")
    examined = inspect(message("user", content=f"{theirs} {MAIL}"))
    assert isinstance(examined, Examined)
    assert unmask(theirs, examined.originals) == theirs
    assert theirs not in examined.originals


def test_every_choice_of_an_answer_is_unmasked() -> None:
    examined = inspect(message("user", content=MAIL) | {"n": 3})
    assert isinstance(examined, Examined)
    (ours,) = examined.originals
    answer = json.dumps({"choices": [{"index": i, "message": {"content": ours}} for i in range(3)]}).encode()
    (restored,) = Whole(examined.originals).chunk(answer)
    assert restored.decode().count(MAIL) == 3
