"""Laws of the Gemini caller that single cases do not show."""

import json
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters.google import Google
from llmproxy.provider_workers.callers.gemini import Gemini
from llmproxy.provider_workers.callers.gemini_answer import FINISH_REASONS
from llmproxy.provider_workers.callers.gemini_request import REDACTED, SIGNED, sealed, unsealed
from llmproxy.provider_workers.callers.gemini_spelling import json_schema, respelled
from llmproxy.provider_workers.wire import Origin, Target

HERE = Origin(id="r", model="m", created=1)
HI = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}

# --- A conversation that went through the canonical form is the same at Google

GOOGLES = ("inlineData", "mimeType", "functionCall", "functionResponse", "thoughtSignature", "systemInstruction")
texts = st.text(min_size=1, max_size=8).filter(lambda text: text not in GOOGLES)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
objects = st.dictionaries(texts, scalars | st.lists(scalars, max_size=2), max_size=3)
pictures = st.just({"inlineData": {"mimeType": "image/png", "data": "AAEC"}})
sounds = st.just({"inlineData": {"mimeType": "audio/wav", "data": "AAEC"}})
papers = st.just({"inlineData": {"mimeType": "application/pdf", "data": "AAEC"}})
words = texts.map(lambda text: {"text": text})
signatures = st.sampled_from(["", "c2ln"])


@st.composite
def conversations(draw: st.DrawFn) -> dict[str, Any]:
    """Turns as Gemini's clients write them, in the one form that the translation back writes too."""
    contents: list[dict[str, Any]] = []
    number = 0
    for _ in range(draw(st.integers(1, 3))):
        asked = draw(st.lists(words | pictures | sounds | papers, min_size=1, max_size=3))
        contents.append({"role": "user", "parts": asked})
        said = [draw(words)] if draw(st.booleans()) else []
        if said and (signature := draw(signatures)):
            said[0] = {**said[0], "thoughtSignature": signature}
        calls: list[dict[str, Any]] = []
        results = []
        for _ in range(draw(st.integers(0 if said else 1, 2))):
            number += 1
            call: dict[str, Any] = {"functionCall": {"name": draw(st.sampled_from("fg")), "args": draw(objects)}}
            call["functionCall"]["id"] = f"fc-{number}"
            if signature := draw(signatures):
                call["thoughtSignature"] = signature
            calls.append(call)
            response = draw(objects.filter(lambda found: len(found) != 1) | texts.map(lambda text: {"result": text}))
            name = call["functionCall"]["name"]
            results.append({"functionResponse": {"name": name, "response": response, "id": f"fc-{number}"}})
        contents.append({"role": "model", "parts": said + calls})
        if results:
            contents += [{"role": "user", "parts": results}, {"role": "model", "parts": [draw(words)]}]
    config = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.floats(0, 2),
                "topP": st.floats(0, 1),
                "topK": st.integers(1, 40),
                "maxOutputTokens": st.integers(1, 99),
                "stopSequences": st.lists(texts, min_size=1, max_size=2),
                "candidateCount": st.integers(2, 3),
                "seed": st.integers(0, 9),
                "presencePenalty": st.floats(-2, 2),
            },
        )
    )
    body: dict[str, Any] = {"contents": contents}
    if draw(st.booleans()):
        body["systemInstruction"] = {"parts": [draw(words)]}
    return {**body, "generationConfig": config} if config else body


@given(conversations())
def test_a_conversation_survives_the_way_through_the_canonical_form(body: dict[str, Any]) -> None:
    asked = Gemini().read(json.dumps(body).encode(), stream=False)
    made = Google().request(asked.canonical, Target(model="gemini-2.5-flash"))
    assert asked.dropped == ()
    assert [name for name in made.dropped if name != "messages[].content[].file.filename"] == []
    assert json.loads(made.body) == body


@given(conversations())
def test_both_spellings_mean_the_same(body: dict[str, Any]) -> None:
    plain = snake = json.dumps(body, ensure_ascii=False)
    for name in GOOGLES:
        snake = snake.replace(f'"{name}":', f'"{"".join("_" + c.lower() if c.isupper() else c for c in name)}":')
    camel, other = (Gemini().read(text.encode(), stream=True).canonical for text in (plain, snake))
    assert camel == other


anything = st.recursive(
    scalars | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a body."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@given(conversations(), st.data(), anything)
def test_a_body_that_is_wrong_somewhere_is_refused_and_never_a_bug(body: Any, data: st.DataObject, wrong: Any) -> None:
    body = deepcopy(body)  # Examples share their leaves.
    container, key = data.draw(st.sampled_from(places(body)))
    container[key] = wrong
    refusal = None
    try:
        asked = Gemini().read(json.dumps(body).encode(), stream=False)
        Google().request(asked.canonical, Target(model="gemini-3-pro"))
    except GatewayError as error:
        refusal = error
    assert refusal is None or refusal.code.startswith(("invalid", "unsupported", "missing"))


# --- A stream says what the whole answer says


def pieces(text: str, at: list[int]) -> list[str]:
    cuts = sorted({0, len(text), *(min(one, len(text)) for one in at)})
    return [text[a:b] for a, b in pairwise(cuts)]


@given(st.text(max_size=30), objects, st.lists(st.integers(0, 40), max_size=4), st.sampled_from(sorted(FINISH_REASONS)))
def test_a_stream_adds_up_to_the_whole(text: str, args: dict[str, Any], at: list[int], finish: str) -> None:
    arguments = json.dumps(args)
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    whole = {"choices": [{"index": 0, "message": {"content": text, "tool_calls": [call]}, "finish_reason": finish}]}
    asked = Gemini().read(json.dumps(HI).encode(), stream=True)
    events = asked.events(HERE)
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in pieces(text, at)]
    deltas.append({"tool_calls": [{"index": 0, **call, "function": {"name": "f", "arguments": ""}}]})
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces(arguments, at)]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    out = [json.loads(one) for choice in choices for one in events.chunk(json.dumps({"choices": [choice]}).encode())]
    out += [json.loads(one) for one in events.end(Usage(input=1, output=1))]
    candidate = json.loads(asked.response(json.dumps(whole).encode(), HERE))["candidates"][0]
    streamed = [part for event in out for part in event["candidates"][0]["content"]["parts"]]
    made = [
        [part["functionCall"] for part in parts if "functionCall" in part]
        for parts in (streamed, candidate["content"]["parts"])
    ]
    assert made[0] == made[1]
    assert "".join(part.get("text", "") for part in streamed) == text
    assert out[-1]["candidates"][0]["finishReason"] == candidate["finishReason"]
    assert [event for event in out[:-1] if "finishReason" in event["candidates"][0]] == []


def test_what_is_said_and_refused_in_one_chunk_are_both_told() -> None:
    events = Gemini().read(json.dumps(HI).encode(), stream=True).events(HERE)
    chunk = {"choices": [{"index": 0, "delta": {"content": "Sorry. ", "refusal": "No."}, "finish_reason": "stop"}]}
    [told] = events.chunk(json.dumps(chunk).encode())
    assert json.loads(told)["candidates"][0]["content"]["parts"] == [{"text": "Sorry. No."}]


def called(*deltas: dict[str, Any], finish: str | None = "tool_calls") -> list[tuple[str, dict[str, Any]]]:
    """The calls of a stream."""
    events = Gemini().read(json.dumps(HI).encode(), stream=True).events(HERE)
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    out = [one for choice in choices for one in events.chunk(json.dumps({"choices": [choice]}).encode())]
    candidates = [json.loads(one)["candidates"][0] for one in [*out, *events.end(Usage())]]
    parts = [part for candidate in candidates for part in candidate["content"]["parts"]]
    return [(part["functionCall"]["name"], part["functionCall"]["args"]) for part in parts if "functionCall" in part]


def fragment(index: int | None, arguments: str, name: str = "") -> dict[str, Any]:
    more = {"id": f"call_{name}"} if name else {}
    return {"tool_calls": [{"index": index, **more, "function": {"name": name or None, "arguments": arguments}}]}


@pytest.mark.parametrize("index", [0, None])
def test_calls_of_a_server_that_does_not_number_them_stay_apart(index: int | None) -> None:
    found = called(fragment(index, '{"a"', "f"), fragment(index, ":1}"), fragment(index, "", "g"))
    assert found == [("f", {"a": 1}), ("g", {})]


def test_fragments_of_parallel_calls_may_be_interleaved() -> None:
    found = called(fragment(0, '{"a"', "f"), fragment(1, '{"b"', "g"), fragment(0, ":1}"), fragment(1, ":2}"))
    assert found == [("f", {"a": 1}), ("g", {"b": 2})]


def test_a_call_is_told_though_nothing_says_how_the_answer_ended() -> None:
    assert called(fragment(0, '{"a":1}', "f"), finish=None) == [("f", {"a": 1})]


# --- Signatures


@given(st.text(), st.sampled_from([SIGNED, REDACTED]))
def test_a_signature_comes_back_in_either_alphabet(signature: str, kind: bytes) -> None:
    there = sealed(kind, signature)
    assert unsealed(there) == (kind, signature)
    assert unsealed(there.replace("-", "+").replace("_", "/")) == (kind, signature)


@given(st.text(max_size=20))
def test_a_signature_of_google_is_left_alone(signature: str) -> None:
    if not signature.startswith(("dGhpbmtpbmc6", "cmVkYWN0ZWQ6")):
        assert unsealed(signature) == (b"", "")


# --- Spelling


@pytest.mark.parametrize(
    ("google", "standard"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": "TYPE_UNSPECIFIED"}, {}),
        ({"type": "INTEGER", "nullable": True}, {"type": ["integer", "null"]}),
        ({"type": "STRING", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "NUMBER"}], "nullable": True}, {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        ({"type": "STRING", "nullable": False}, {"type": "string"}),
        (
            {"type": "ARRAY", "items": {"type": "BOOLEAN"}, "minItems": "2"},
            {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
        ),
        ({"type": "STRING", "max_length": "9", "example": "x"}, {"type": "string", "maxLength": 9, "examples": ["x"]}),
        (
            {"ref": "#/$defs/a", "defs": {"a": {"type": "NULL"}}},
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}},
        ),
        ({"properties": {"any_of": {"type": "STRING"}}}, {"properties": {"any_of": {"type": "string"}}}),
        ({"type": "OBJECT", "additionalProperties": False}, {"type": "object", "additionalProperties": False}),
        (True, True),
    ],
)
def test_googles_schemas_are_json_schemas(google: Any, standard: Any) -> None:
    assert json_schema(google, "schema") == standard


def test_properties_stand_in_the_order_that_was_asked_for() -> None:
    schema = {"properties": {"a": {}, "b": {}, "c": {}}, "propertyOrdering": ["c", "a", "z"]}
    assert list(json_schema(schema, "schema")["properties"]) == ["c", "a", "b"]


def test_what_callers_name_themselves_is_not_respelled() -> None:
    body = {
        "function_call": {"name": "f_g", "args": {"a_b": {"c_d": 1}}},
        "response_schema": {"properties": {"e_f": {"min_items": "1"}}},
        "parameters_json_schema": {"additional_properties": 1},
    }
    assert respelled(body) == {
        "functionCall": {"name": "f_g", "args": {"a_b": {"c_d": 1}}},
        "responseSchema": {"properties": {"e_f": {"minItems": "1"}}},
        "parametersJsonSchema": {"additional_properties": 1},
    }


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({}, None),
        ({"thinkingBudget": -1}, None),
        ({"thinkingBudget": 0}, "none"),
        ({"thinkingBudget": 512}, "low"),
        ({"thinkingBudget": 1025}, "medium"),
        ({"thinkingBudget": 30000}, "high"),
        ({"thinkingLevel": "MINIMAL"}, "minimal"),
        ({"thinkingLevel": "high", "thinkingBudget": 0}, "high"),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
    ],
)
def test_thinking_is_an_effort_elsewhere(thinking: dict[str, Any], effort: str | None) -> None:
    body = {**HI, "generationConfig": {"thinkingConfig": thinking}}
    canonical = json.loads(Gemini().read(json.dumps(body).encode(), stream=False).canonical)
    assert canonical.get("reasoning_effort") == effort


def test_only_the_functions_that_are_allowed_are_offered() -> None:
    body = {
        **HI,
        "tools": [{"functionDeclarations": [{"name": name} for name in "abc"]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a", "c"]}},
    }
    canonical = json.loads(Gemini().read(json.dumps(body).encode(), stream=False).canonical)
    assert [tool["function"]["name"] for tool in canonical["tools"]] == ["a", "c"]
    assert canonical["tool_choice"] == "required"


def test_one_content_and_one_part_need_no_list() -> None:
    body = b'{"contents": {"parts": {"text": "Hi"}}, "systemInstruction": {"parts": {"text": "Be brief"}}}'
    messages = json.loads(Gemini().read(body, stream=False).canonical)["messages"]
    assert messages == [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]
