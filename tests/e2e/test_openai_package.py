"""The official `openai` package against the gateway as `make run` starts it, with the demo provider."""

import json
from typing import Any

import httpx
import openai
import pytest
from gateway import Gateway
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionToolParam
from patience import PATIENCE_S, wait_for

HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def test_chat_answers_and_names_itself_demo(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=HELLO)
    assert "demo" in answer.model
    assert "hello there" in (answer.choices[0].message.content or "")
    assert "demo" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_a_stream_is_the_same_text_as_the_whole_answer(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="demo", messages=HELLO).choices[0].message.content
    stream = client.chat.completions.create(
        model="demo", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert len({chunk.id for chunk in chunks}) == 1


def test_usage_is_not_streamed_to_who_did_not_ask(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="demo", messages=HELLO, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_an_answer_ends_before_a_stop_sequence(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="demo", messages=HELLO, stop=["there"]).choices[0]
    chunks = list(client.chat.completions.create(model="demo", messages=HELLO, stop=["there"], stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.message.content
    assert said.endswith("hello ")
    assert (whole.finish_reason, chunks[-1].choices[0].finish_reason) == ("stop", "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_and_their_result_is_answered(client: OpenAI, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "what is the weather in Paris?"}]
    if stream:
        with client.chat.completions.stream(
            model="demo", messages=messages, tools=[WEATHER], tool_choice="required"
        ) as events:
            asked: Any = events.get_final_completion()
    else:
        asked = client.chat.completions.create(model="demo", messages=messages, tools=[WEATHER], tool_choice="required")
    call = asked.choices[0].message.tool_calls[0]
    assert asked.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"city"}
    messages += [
        {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})], "content": None},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    answered = client.chat.completions.create(model="demo", messages=messages, tools=[WEATHER])
    assert answered.choices[0].finish_reason == "stop"
    assert answered.choices[0].message.content


def test_the_raw_response_carries_the_headers_of_the_field(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=HELLO)
    assert raw.headers["x-request-id"]
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert raw.headers["x-llmproxy-provider"] == "demo"
    assert isinstance(raw.parse(), ChatCompletion)


def test_models_are_listed_and_found(client: OpenAI) -> None:
    models = list(client.models.list())
    assert [(model.id, model.owned_by) for model in models] == [("demo", "demo")]
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("gpt-none")
    assert missing.value.code == "model_not_found"


def test_a_wrong_key_is_refused_without_being_repeated(demo: Gateway) -> None:
    wrong = "llmp-not-a-key-of-this-gateway"
    with pytest.raises(openai.AuthenticationError) as refused:
        OpenAI(api_key=wrong, base_url=demo.base_url, max_retries=0).chat.completions.create(
            model="demo", messages=HELLO
        )
    assert refused.value.code == "invalid_api_key"
    assert wrong not in str(refused.value.body)


def test_an_unknown_model_is_named_in_the_error(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-none", messages=HELLO)
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"
    assert "gpt-none" in str(missing.value)


def test_a_cancelled_stream_is_recorded_as_cancelled(demo: Gateway, client: OpenAI) -> None:
    long = [{"role": "user", "content": "word " * 4000}]
    stream = client.chat.completions.create(model="demo", messages=long, stream=True)  # type: ignore[call-overload]
    request_id = stream.response.headers["x-request-id"]
    next(iter(stream))
    stream.close()
    record = wait_for(
        lambda: [one for one in demo.records(50) if one["id"] == request_id], "the record of the cancelled stream"
    )[0]
    assert record["verdict"] == "cancelled"
    assert record["input_tokens"] > 0


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_a_key_is_accepted_in_every_usual_header(demo: Gateway, header: str) -> None:
    value = f"Bearer {demo.key}" if header == "authorization" else demo.key
    assert httpx.get(f"{demo.base_url}/models", headers={header: value}, timeout=PATIENCE_S).status_code == 200
    assert httpx.get(f"{demo.base_url}/models", headers={header: value + "x"}, timeout=PATIENCE_S).status_code == 401


def test_every_request_has_one_record_and_the_ledger_verifies(demo: Gateway, client: OpenAI) -> None:
    answered = client.chat.completions.with_raw_response.create(model="demo", messages=HELLO).headers["x-request-id"]
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-none", messages=HELLO)
    ids = {answered: "answered", refused.value.response.headers["x-request-id"]: "refused"}

    def found() -> list[Any]:
        records = [one for one in demo.records(200) if one["id"] in ids]
        return records if len(records) >= len(ids) else []

    records = wait_for(found, "both records")
    assert {record["id"]: record["verdict"] for record in records} == ids
    assert demo.verify_ledger()["ok"]
