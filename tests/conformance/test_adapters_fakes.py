"""The fake vendors are as good as the vendors: their own SDKs, as clients, take them for the real thing."""

import asyncio
from collections.abc import Callable

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from upstreams import KEY, VENDORS, Behaviour, Upstream, running

SAID = "You said: Hi"


def with_openai(url: str, key: str) -> tuple[str, str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
        whole = client.chat.completions.create(model="gpt-5", messages=messages)
        stream = client.chat.completions.create(model="gpt-5", messages=messages, stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        return whole.choices[0].message.content or "", streamed


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


CLIENTS: dict[str, Callable[[str, str], tuple[str, str]]] = {
    "openai": with_openai,
    "anthropic": with_anthropic,
    "google": with_google,
    "ollama": with_ollama,
}
REFUSALS = (openai.AuthenticationError, anthropic.AuthenticationError, genai_errors.ClientError, ollama.ResponseError)


def ask(vendor: str, key: str) -> tuple[str, str]:
    async def run() -> tuple[str, str]:
        async with running(Upstream(VENDORS[vendor], Behaviour(key=KEY))) as url:
            return await asyncio.to_thread(CLIENTS[vendor], url, key)

    return asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_vendors_own_client_reads_its_answers(vendor: str) -> None:
    assert ask(vendor, KEY) == (SAID, SAID)


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_vendors_own_client_reads_its_errors(vendor: str) -> None:
    with pytest.raises(REFUSALS):
        ask(vendor, "wrong")
