"""The fake vendors are as good as the vendors: their own SDKs, as clients, take them for the real thing."""

import asyncio
from collections.abc import Callable

import anthropic
import botocore.exceptions as botocore_errors
import cohere
import ollama
import openai
import pytest
from botocore.config import Config
from botocore.session import get_session
from google import genai
from google.genai import errors as genai_errors
from patience import PATIENCE_S
from upstreams import KEY, MODELS, VENDORS, Behaviour, Upstream, running

from llmproxy.fakes.openai.variant import Variant
from llmproxy.fakes.openai.vendors import VARIANTS

SAID = "You said: Hi"
IN_OPENAIS_FORMAT = {variant.name: variant for variant in VARIANTS}


def plain(content: object) -> str:
    """Mistral's content may be a list of parts, which the package passes on as it is."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return str(content or "")


def with_openai(variant: Variant) -> Callable[[str, str], tuple[str, str]]:
    def ask(url: str, key: str) -> tuple[str, str]:
        headers = {} if variant.header == "authorization" else {variant.header: key}
        base = url + variant.base
        with openai.OpenAI(base_url=base, api_key=key, max_retries=0, default_headers=headers) as client:
            messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
            whole = client.chat.completions.create(model=MODELS[variant.name], messages=messages)
            stream = client.chat.completions.create(model=MODELS[variant.name], messages=messages, stream=True)
            streamed = "".join(plain(one.choices[0].delta.content) for one in stream if one.choices)
            return plain(whole.choices[0].message.content), streamed

    return ask


def with_anthropic(url: str, key: str) -> tuple[str, str]:
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as client:
        whole = client.messages.create(
            model="claude-opus-5", max_tokens=64, messages=[{"role": "user", "content": "Hi"}]
        )
        with client.messages.stream(
            model="claude-opus-5", max_tokens=64, messages=[{"role": "user", "content": "Hi"}]
        ) as stream:
            streamed = stream.get_final_message()
        assert streamed.usage.input_tokens == whole.usage.input_tokens
        return "".join(block.text for block in whole.content if block.type == "text"), "".join(
            block.text for block in streamed.content if block.type == "text"
        )


def with_google(url: str, key: str) -> tuple[str, str]:
    client = genai.Client(api_key=key, http_options=genai.types.HttpOptions(base_url=url))
    whole = client.models.generate_content(model="gemini-3-pro", contents="Hi")
    stream = client.models.generate_content_stream(model="gemini-3-pro", contents="Hi")
    return whole.text or "", "".join(chunk.text or "" for chunk in stream)


def with_ollama(url: str, key: str) -> tuple[str, str]:
    client = ollama.Client(host=url, headers={"authorization": f"Bearer {key}"})
    messages = [{"role": "user", "content": "Hi"}]
    whole = client.chat(model="qwen3", messages=messages)
    stream = client.chat(model="qwen3", messages=messages, stream=True)
    return whole.message.content or "", "".join(chunk.message.content or "" for chunk in stream)


def with_botocore(url: str, key: str) -> tuple[str, str]:
    client = get_session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="AKIDFAKE",
        aws_secret_access_key=key,
        config=Config(retries={"total_max_attempts": 1}),
    )
    messages = [{"role": "user", "content": [{"text": "Hi"}]}]
    whole = client.converse(modelId=MODELS["bedrock"], messages=messages)
    stream = client.converse_stream(modelId=MODELS["bedrock"], messages=messages)["stream"]
    pieces = [event["contentBlockDelta"]["delta"]["text"] for event in stream if "contentBlockDelta" in event]
    return whole["output"]["message"]["content"][0]["text"], "".join(pieces)


def with_cohere(url: str, key: str) -> tuple[str, str]:
    client = cohere.ClientV2(api_key=key, base_url=url)
    messages = [{"role": "user", "content": "Hi"}]
    whole = client.chat(model=MODELS["cohere"], messages=messages)
    stream = client.chat_stream(model=MODELS["cohere"], messages=messages)
    pieces = [event.delta.message.content.text or "" for event in stream if event.type == "content-delta"]
    return whole.message.content[0].text, "".join(pieces)


CLIENTS: dict[str, Callable[[str, str], tuple[str, str]]] = {
    **{name: with_openai(variant) for name, variant in IN_OPENAIS_FORMAT.items()},
    "anthropic": with_anthropic,
    "google": with_google,
    "ollama": with_ollama,
    "bedrock": with_botocore,
    "cohere": with_cohere,
}
REFUSALS = (
    openai.AuthenticationError,
    anthropic.AuthenticationError,
    genai_errors.ClientError,
    ollama.ResponseError,
    botocore_errors.ClientError,
    cohere.UnauthorizedError,
)


def ask(vendor: str, key: str) -> tuple[str, str]:
    async def run() -> tuple[str, str]:
        async with running(Upstream(VENDORS[vendor], Behaviour(key=KEY))) as url:
            return await asyncio.to_thread(CLIENTS[vendor], url, key)

    return asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


@pytest.mark.parametrize("vendor", CLIENTS)
def test_the_vendors_own_client_reads_its_answers(vendor: str) -> None:
    assert ask(vendor, KEY) == (SAID, SAID)


@pytest.mark.parametrize("vendor", CLIENTS)
def test_the_vendors_own_client_reads_its_errors(vendor: str) -> None:
    with pytest.raises(REFUSALS):
        ask(vendor, "wrong")


def with_fake_openai(scenario: Callable[[openai.OpenAI], None]) -> None:
    async def run() -> None:
        async with running(Upstream(VENDORS["openai"])) as url:
            with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
                await asyncio.to_thread(scenario, client)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_the_openai_package_reads_every_other_api() -> None:
    def scenario(client: openai.OpenAI) -> None:
        vectors = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])  # base64 by default
        assert [len(one.embedding) for one in vectors.data] == [8, 8]
        assert vectors.data[0].embedding != vectors.data[1].embedding
        assert client.moderations.create(input="please flag this").results[0].flagged
        image = client.images.generate(model="gpt-image-1", prompt="a hat")
        assert image.data
        assert image.data[0].b64_json
        speech = client.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="hello")
        assert speech.read().startswith(b"ID3")
        heard = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"RIFF0000", "audio/wav"))
        assert "a.wav, 8 bytes" in heard.text
        completion = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Hi")
        assert completion.choices[0].text == SAID
        assert [model.id for model in client.models.list()] == ["openai-model"]

    with_fake_openai(scenario)


def test_the_openai_package_reads_a_response_and_its_stream() -> None:
    def scenario(client: openai.OpenAI) -> None:
        tool: openai.types.responses.FunctionToolParam = {
            "type": "function",
            "name": "weather",
            "strict": False,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        }
        whole = client.responses.create(model="gpt-5", input="Hi", reasoning={"effort": "low", "summary": "auto"})
        assert whole.output_text == SAID
        assert [item.type for item in whole.output] == ["reasoning", "message"]
        with client.responses.stream(model="gpt-5", input="weather?", tools=[tool]) as stream:
            final = stream.get_final_response()
        (call,) = final.output
        assert call.type == "function_call"
        assert call.arguments == '{"city": "weather?"}'

    with_fake_openai(scenario)
