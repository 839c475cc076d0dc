"""Facts of chatting through a Responses API that one wire case would not pin down, and what survives both translations."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters.openai_responses import OpenAIResponses
from llmproxy.provider_workers.callers.responses import Responses
from llmproxy.provider_workers.wire import Origin, Target

ADAPTER = OpenAIResponses()
ORIGIN = Origin(id="0198c0de-0000-7000-8000-000000000001", model="m", created=1700000000)
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}


def request(model: str = "gpt-5", **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    found: dict[str, Any] = json.loads(ADAPTER.request(json.dumps(body).encode(), Target(model=model)).body)
    return found


def refusal(**fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        request(**fields)
    return caught.value


def run(*events: dict[str, Any]) -> tuple[list[dict[str, Any]], Any]:
    """The deltas of a stream, and its translator."""
    stream = ADAPTER.events(ORIGIN)
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    out = stream.feed(data) + stream.finish()
    for chunk in out:
        ChatCompletionChunk.model_validate_json(chunk, strict=True)
    return [json.loads(chunk)["choices"][0]["delta"] for chunk in out if json.loads(chunk)["choices"]], stream


def completed(*output: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"status": "completed", "output": list(output)}}


def test_nothing_is_stored_unless_the_caller_says_so() -> None:
    assert request()["store"] is False
    assert request(store=True)["store"] is True


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1-mini", "ft:gpt-4o:acme", "chatgpt-4o-latest", "gpt-5.1-chat-latest"]
)
def test_a_model_that_does_not_reason_is_not_asked_for_its_reasoning(model: str) -> None:
    assert "include" not in request(model)
    assert request(model, reasoning_effort="low")["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5.6-sol", "gpt-6-luna", "o3", "o4-mini", "grok-4", "gpt-oss-120b"])
def test_a_model_that_reasons_is_asked_for_its_reasoning(model: str) -> None:
    assert request(model)["include"] == ["reasoning.encrypted_content"]


def test_a_tool_is_strict_only_when_the_caller_says_so() -> None:
    def made(**more: Any) -> Any:
        return request(tools=[{"type": "function", "function": {"name": "f", **more}}])["tools"][0]

    assert made()["strict"] is False
    assert made(strict=True)["strict"] is True
    assert made()["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("extra", "where"),
    [
        ({"openai": {"reasoning": [{"type": "message"}]}}, "message"),
        ({"openai": {"reasoning": [5]}}, "call"),
        ({"openai": 5}, "call"),
    ],
)
def test_reasoning_that_was_changed_on_the_way_is_refused_with_its_place(extra: Any, where: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message: dict[str, Any] = {"role": "assistant", "tool_calls": [call]}
    (message if where == "message" else call)["extra_content"] = extra
    error = refusal(messages=[message])
    assert error.code == "invalid_value"
    assert error.param.endswith("extra_content")


def test_another_vendors_signatures_are_no_reason_to_refuse() -> None:
    extra = {"google": {"thought_signature": "x"}}
    made = request(messages=[{"role": "assistant", "content": "Hi", "extra_content": extra}])
    assert made["input"] == [{"role": "assistant", "content": "Hi"}]


def test_a_result_without_its_call_is_refused_by_name() -> None:
    assert refusal(messages=[{"role": "tool", "content": "x"}]).param == "messages[0].tool_call_id"


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({"error": {"message": "No.", "type": "invalid_request_error", "param": "input"}}, "provider_rejected", "No."),
        ({"code": "invalid", "error": "Argument not supported"}, "provider_rejected", "Argument not supported"),
        ({"object": "error", "message": "maximum context length is 9", "code": 400}, "context_length_exceeded", "9"),
        ({"error": {"message": "Previous response not found", "code": "previous_response_not_found"}}, "provider_rejected", "Previous"),
        ({}, "provider_rejected", "400"),
    ],
)  # fmt: skip
def test_errors_of_every_shape_are_read(body: dict[str, Any], code: str, says: str) -> None:
    error = ADAPTER.error(400, {}, json.dumps(body).encode())
    assert error.code == code
    assert says in error.message


def test_arguments_that_come_whole_are_not_lost() -> None:
    item = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
    opened = {**item, "arguments": ""}
    added = {"type": "response.output_item.added", "output_index": 0, "item": opened}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    for events in ((added, done), (done,)):
        deltas, stream = run(*events, completed(item))
        said = [call["function"].get("arguments", "") for delta in deltas for call in delta.get("tool_calls", [])]
        assert "".join(said) == '{"a":1}'
        assert stream.finish_reason == "tool_calls"


def test_of_two_ways_to_show_the_same_reasoning_one_is_told() -> None:
    summary = {"type": "response.reasoning_summary_text.delta", "delta": "short", "summary_index": 0}
    whole = {"type": "response.reasoning_text.delta", "delta": "long", "content_index": 0}
    for first, second in ((summary, whole), (whole, summary)):
        deltas, _ = run(first, second, completed())
        assert [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta] == [first["delta"]]


def test_probabilities_come_with_the_text_of_a_stream() -> None:
    likely = [{"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}]
    stream = ADAPTER.events(ORIGIN)
    event = {"type": "response.output_text.delta", "delta": "Hi", "logprobs": likely}
    (chunk,) = stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    found = ChatCompletionChunk.model_validate_json(chunk, strict=True).choices[0]
    assert found.delta.content == "Hi"
    assert found.logprobs is not None
    assert found.logprobs.content is not None
    assert found.logprobs.content[0].token == "Hi"


def test_reasoning_at_the_end_of_a_stream_is_kept() -> None:
    done = {"type": "response.output_item.done", "output_index": 0, "item": REASONING}
    deltas, stream = run(done, completed(REASONING))
    assert deltas[0]["extra_content"] == {"openai": {"reasoning": [REASONING]}}
    assert stream.complete


def test_an_event_of_several_lines_makes_chunks_of_one() -> None:
    item = json.dumps(REASONING, indent=1).replace("\n", "\ndata: ")
    stream = ADAPTER.events(ORIGIN)
    stream.feed(f'data: {{"type":"response.output_item.done","item":{item}}}\n\n'.encode())
    out = stream.feed(b"data: " + json.dumps(completed(REASONING)).encode() + b"\n\n")
    assert not any(b"\n" in chunk for chunk in out)


# -- both translations

words = st.text(min_size=1, max_size=8).filter(str.strip)
arguments = st.dictionaries(words, st.integers() | words, max_size=2).map(json.dumps)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Items as the API itself would keep them: turns of a user, and of a model that thinks, speaks and calls."""
    items: list[dict[str, Any]] = []
    for turn in range(draw(st.integers(1, 3))):
        role = draw(st.sampled_from(["user", "user", "developer", "system"]))
        items.append({"role": role, "content": draw(words)})
        if draw(st.booleans()):
            image = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"}
            file = {"type": "input_file", "filename": draw(words), "file_data": "data:application/pdf;base64,JVBERi0="}
            text = {"type": "input_text", "text": draw(words)}
            items.append({"role": "user", "content": draw(st.permutations([image, file, text]))})
        if draw(st.booleans()):
            items.append({"role": "assistant", "content": draw(words)})
        calls = draw(st.integers(0, 3))
        names = [f"call_{turn}_{number}" for number in range(calls)]
        for name in names:
            items.append({"type": "function_call", "call_id": name, "name": draw(words), "arguments": draw(arguments)})
        for name in draw(st.permutations(names)):
            output: Any = draw(words) if draw(st.booleans()) else [{"type": "input_text", "text": draw(words)}]
            items.append({"type": "function_call_output", "call_id": name, "output": output})
    return items


@settings(max_examples=100, deadline=None)
@given(conversations())
def test_a_conversation_survives_the_way_to_a_chat_and_back(items: list[dict[str, Any]]) -> None:
    """What a chat cannot hold would be missing here, and what it holds twice would be there twice."""
    chat = Responses().read(json.dumps({"model": "m", "input": items}).encode(), stream=False)
    assert chat.dropped == ()
    made = ADAPTER.request(chat.canonical, Target(model="gpt-5"))
    assert made.dropped == ()
    assert json.loads(made.body)["input"] == items


FIELDS: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": 99,
    "temperature": 0.5,
    "top_p": 0.25,
    "parallel_tool_calls": False,
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {
        "format": {
            "type": "json_schema",
            "name": "n",
            "description": "d",
            "schema": {"type": "object"},
            "strict": True,
        },
        "verbosity": "low",
    },
    "reasoning": {"effort": "high"},
    "top_logprobs": 2,
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "explicit"},
    "service_tier": "flex",
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_survives_the_way_to_a_chat_and_back(field: str) -> None:
    asked = {"model": "m", "input": "Hi", "tools": FIELDS["tools"], field: FIELDS[field]}
    chat = Responses().read(json.dumps(asked).encode(), stream=False)
    made = ADAPTER.request(chat.canonical, Target(model="gpt-5"))
    assert (chat.dropped, made.dropped) == ((), ())
    assert json.loads(made.body).get(field) == FIELDS[field]


outputs = st.lists(
    st.one_of(
        words.map(lambda text: {"type": "message", "content": [{"type": "output_text", "text": text}]}),
        words.map(lambda text: {**REASONING, "summary": [{"type": "summary_text", "text": text}]}),
        st.just(REASONING),
        st.tuples(words, arguments).map(lambda call: {"type": "function_call", "name": call[0], "arguments": call[1]}),
    ),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(outputs)
def test_an_answer_survives_the_way_to_a_chat_and_back(output: list[dict[str, Any]]) -> None:
    """Texts, thoughts and calls come out as they went in, and the vendor's own reasoning comes back to it to the letter."""
    sent = [
        {**item, "id": f"x_{number}", **({"call_id": f"call_{number}"} if item["type"] == "function_call" else {})}
        for number, item in enumerate(output)
    ]
    chat = ADAPTER.response(json.dumps({"status": "completed", "output": sent}).encode(), ORIGIN)
    assert chat.failure is None
    asked = Responses().read(b'{"model":"m","input":"Hi"}', stream=False)
    told = json.loads(asked.response(chat.json, ORIGIN))["output"]

    def said(items: list[dict[str, Any]], kind: str, name: str) -> str:
        parts = (item.get(name) or [] for item in items if item["type"] == kind)
        return "".join(part["text"] for one in parts for part in one)

    def calls(items: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
        return [(item["call_id"], item["name"], item["arguments"]) for item in items if item["type"] == "function_call"]

    assert said(told, "message", "content") == said(sent, "message", "content")
    assert said(told, "reasoning", "summary") == said(sent, "reasoning", "summary")
    assert calls(told) == calls(sent)

    results = [{"type": "function_call_output", "call_id": call[0], "output": "ok"} for call in calls(told)]
    again = Responses().read(json.dumps({"model": "m", "input": [*told, *results]}).encode(), stream=False)
    back = json.loads(ADAPTER.request(again.canonical, Target(model="gpt-5")).body)["input"]
    assert sorted(item["id"] for item in back if item.get("type") == "reasoning") == sorted(
        item["id"] for item in sent if item["type"] == "reasoning"
    )
    assert all(item in sent for item in back if item.get("type") == "reasoning")
    assert calls([item for item in back if "type" in item]) == calls(sent)
