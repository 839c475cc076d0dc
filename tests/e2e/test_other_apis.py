"""The APIs that hold no conversation, with the official packages, at every provider that is said to serve them."""

import hashlib
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from e2e.families import FAMILIES, Fakes
from gateway import Gateway
from openai import OpenAI
from patience import PATIENCE_S

from llmproxy.common.envelope import Api
from llmproxy.common.offers import serves

TEXTS = ["a red hat", "a green coat", "a red coat"]
SOUND = b"RIFF\x00\xff\xfe\x01"


def served(api: Api) -> list[str]:
    return [name for name, family in FAMILIES.items() if serves(family.provider, api) and not family.model]


@pytest.fixture(scope="module")
def client(families: Gateway) -> Iterator[OpenAI]:
    with OpenAI(api_key=families.key, base_url=families.base_url, max_retries=0) as connected:
        yield connected


@pytest.mark.parametrize("family", served("embeddings"))
def test_embeddings(client: OpenAI, family: str, fakes: Fakes) -> None:
    fakes.behave(family)
    answer = client.embeddings.create(model=family, input=TEXTS)
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert len({tuple(one.embedding) for one in answer.data}) == 3
    again = client.embeddings.create(model=family, input=TEXTS[1], encoding_format="float")
    assert again.data[0].embedding == pytest.approx(answer.data[1].embedding)


@pytest.mark.parametrize("family", served("moderations"))
def test_moderations(client: OpenAI, family: str, fakes: Fakes) -> None:
    fakes.behave(family)
    good, bad = client.moderations.create(model=family, input=["a hat", "please flag this"]).results
    assert (good.categories.violence, bad.categories.violence) == (False, True)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize("family", served("rerank"))
def test_rerank(families: Gateway, family: str, path: str, fakes: Fakes) -> None:
    """There is no official package but Cohere's own."""
    fakes.behave(family)
    body = {"model": family, "query": "red coat", "documents": TEXTS, "top_n": 2}
    headers = {"authorization": f"Bearer {families.key}"}
    answer = httpx.post(families.url + path, json=body, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [one["index"] for one in found.get("results") or found["data"]] == [2, 0]


@pytest.mark.parametrize("family", served("images"))
def test_images(client: OpenAI, family: str, fakes: Fakes) -> None:
    fakes.behave(family)
    answer = client.images.generate(model=family, prompt="a hat", n=2)
    assert len(answer.data or []) == 2
    assert all(one.b64_json or one.url for one in answer.data or [])


@pytest.mark.parametrize("family", served("speech"))
def test_speech(client: OpenAI, family: str, fakes: Fakes) -> None:
    fakes.behave(family)
    answer = client.audio.speech.create(model=family, voice="alloy", input="grüße 👋", response_format="wav")
    assert answer.response.headers["content-type"] == "audio/wav"
    assert answer.read().endswith(hashlib.sha256("grüße 👋".encode()).digest())


@pytest.mark.parametrize("family", served("transcriptions"))
def test_transcriptions(client: OpenAI, family: str, fakes: Fakes) -> None:
    fakes.behave(family)
    answer = client.audio.transcriptions.create(model=family, file=("what.wav", SOUND, "audio/wav"), language="en")
    assert f"{len(SOUND)} bytes, {hashlib.sha256(SOUND).hexdigest()[:8]}" in answer.text
    plain: Any = client.audio.transcriptions.create(
        model=family, file=("what.wav", SOUND, "audio/wav"), response_format="text"
    )
    assert "This was said" in plain


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_counted(families: Gateway, family: str, fakes: Fakes) -> None:
    """By the provider, or estimated where it does not count."""
    fakes.behave(family)
    with anthropic.Anthropic(api_key=families.key, base_url=families.url, max_retries=0) as connected:
        messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": "one two three"}]
        assert connected.messages.count_tokens(model=family, messages=messages).input_tokens > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_legacy_completions(client: OpenAI, family: str, fakes: Fakes) -> None:
    fakes.behave(family)
    whole = client.completions.create(model=family, prompt="Hi", max_tokens=100)
    stream = client.completions.create(model=family, prompt="Hi", max_tokens=100, stream=True)
    assert (
        whole.choices[0].text == "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == "You said: Hi"
    )


def test_what_nobody_serves_is_refused_by_name(client: OpenAI, fakes: Fakes) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="anthropic", input="x")
    assert refused.value.code == "unsupported_endpoint"
    assert not fakes.behave("anthropic").requests
